"""What refusals, failures and silences of a cloud become."""

import socket
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread

import pytest
from keystoneauth1.exceptions import Unauthorized
from keystoneauth1.session import Session
from openstack.exceptions import ConfigException

from chassis.errors import HostlerError, Retry, Terminal
from contracts.errors import ErrorCode
from drivers.openstack.calls import Call
from drivers.openstack.errors import failure, is_no_server, refusal
from tests.unit.drivers.openstack.answers import answer

LOOK = Call("compute", "GET", "/servers/{id}", ids={"id": "x"})
LIST = Call("compute", "GET", "/servers/detail")
CREATE = Call("compute", "POST", "/servers")
GONE = {"itemNotFound": {"code": 404, "message": "Instance x could not be found."}}


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, {"badRequest": {"code": 400, "message": "No."}}, ErrorCode.CLOUD_REFUSED),
        (403, {"forbidden": {"code": 403, "message": "Policy doesn't allow it."}}, ErrorCode.CLOUD_REFUSED),
        (403, {"forbidden": {"message": "Maximum number of metadata items exceeds 128"}}, ErrorCode.CLOUD_REFUSED),
        (405, {"badMethod": {"message": "No."}}, ErrorCode.UNSUPPORTED),
        (406, {"computeFault": {"message": "No."}}, ErrorCode.UNSUPPORTED),
        (409, {"conflictingRequest": {"message": "Multiple possible networks found"}}, ErrorCode.CLOUD_REFUSED),
        (413, {"badRequest": {"message": "Request is too large."}}, ErrorCode.CLOUD_REFUSED),
        (501, {"notImplemented": {"message": "No."}}, ErrorCode.UNSUPPORTED),
    ],
)  # fmt: skip
def test_a_refusal_is_for_good(status: int, body: object, code: ErrorCode) -> None:
    ending = refusal(CREATE, answer(status, body))
    assert isinstance(ending, Terminal)
    assert ending.code is code


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "Quota exceeded for cores: Requested 1, but already used 20 of 20 cores"),
        (403, "Quota exceeded, too many servers."),
        (403, "Maximum number of ports exceeded: too many ports"),
        (409, "Quota exceeded for resources: ['port']."),
        (413, "Quota exceeded for instances"),
    ],
)
def test_a_full_quota_is_waited_for(status: int, said: str) -> None:
    ending = refusal(CREATE, answer(status, {"forbidden": {"message": said}}))
    assert isinstance(ending, Retry)
    assert (ending.code, ending.blocked_on) == (ErrorCode.QUOTA, "quota")
    assert (ending.detail, ending.uncertain) == (said, False)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_after_a_server_error_only_a_changing_call_is_uncertain(status: int) -> None:
    for call, uncertain in ((CREATE, True), (LIST, False)):
        ending = refusal(call, answer(status, b"<html>oops</html>"))
        assert isinstance(ending, Retry)
        assert (ending.code, ending.uncertain) == (ErrorCode.CLOUD_UNAVAILABLE, uncertain)


@pytest.mark.parametrize("status", [401, 300, 304])
def test_what_is_no_answer_to_the_order_is_tried_again(status: int) -> None:
    ending = refusal(CREATE, answer(status, b""))
    assert isinstance(ending, Retry)
    assert (ending.code, ending.uncertain) == (ErrorCode.CLOUD_UNAVAILABLE, False)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("7", 7),
        (" 0 ", 1),
        ("299", 299),
        ("301", 300),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 12:00:00 GMT", 1),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 1),
        ("99999999999999999999", 300),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300),
        ("-1", None),
        ("soon", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after_is_honoured_within_bounds_where_it_makes_sense(
    given: str, seconds: int | None
) -> None:
    ending = refusal(LIST, answer(429, b"", Retry_After=given))
    assert isinstance(ending, Retry)
    assert ending.code is ErrorCode.CLOUD_BUSY
    assert ending.after == (None if seconds is None else timedelta(seconds=seconds))


def test_only_nova_can_say_that_a_server_is_gone() -> None:
    assert is_no_server(LOOK, answer(404, GONE))
    assert not is_no_server(LOOK, answer(404, b"<html>404 Not Found</html>"))
    assert not is_no_server(LOOK, answer(404, {"detail": "Not Found"}))
    assert not is_no_server(LIST, answer(404, GONE))
    assert refusal(LOOK, answer(404, GONE)).code is ErrorCode.NO_SERVER
    assert refusal(LOOK, answer(404, b"no backend")).code is ErrorCode.CLOUD_UNAVAILABLE


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"badRequest": {"code": 400, "message": "Ünknown."}}, "Ünknown."),
        ({"NeutronError": {"type": "X", "message": "Bad.", "detail": ""}}, "Bad."),
        ({"error": {"code": 400, "message": "Keystone says.", "title": "T"}}, "Keystone says."),
        ({"badRequest": {"message": ""}}, "The cloud answered 400 (Bad Request)."),
        ({"badRequest": "text"}, "The cloud answered 400 (Bad Request)."),
        ([], "The cloud answered 400 (Bad Request)."),
        (b"\xff\xfe", "The cloud answered 400 (Bad Request)."),
        ({"x": {"message": "'y' does not match '^[" + "z" * 9000 + "]*$'"}},
         "'y' does not match the pattern for it"),
    ],
)  # fmt: skip
def test_the_clouds_own_words_are_kept(body: object, detail: str) -> None:
    assert refusal(CREATE, answer(400, body)).detail == detail


def test_long_words_are_cut() -> None:
    assert len(refusal(CREATE, answer(400, {"x": {"message": "a" * 5000}})).detail) == 1000


def post(port: int, timeout: float = 5) -> HostlerError | None:
    """What a POST to a port of this machine ends as."""
    try:
        Session().request(f"http://127.0.0.1:{port}/", "POST", timeout=timeout, authenticated=False)
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        return failure(error, sent=True, changes=True)
    return None


@contextmanager
def listening(*, hang_up: bool) -> Generator[int]:
    """A server that takes requests and never answers; `hang_up`: closes instead."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            connection, _ = server.accept()
            connection.recv(65536)
            taken.append(connection)
            if hang_up:
                connection.close()

        thread = Thread(target=take)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join()
        for connection in taken:
            connection.close()


def uncertain(ending: HostlerError | None) -> bool:
    assert isinstance(ending, Retry)
    assert ending.code is ErrorCode.CLOUD_UNAVAILABLE
    return ending.uncertain


def test_a_refused_connection_has_had_no_effect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    assert not uncertain(post(port))


def test_a_connection_that_is_dropped_after_the_request_is_uncertain() -> None:
    with listening(hang_up=True) as port:
        assert uncertain(post(port))


def test_a_request_without_an_answer_in_time_is_uncertain() -> None:
    with listening(hang_up=False) as port:
        assert uncertain(post(port, timeout=0.2))


def test_a_host_without_an_address_has_had_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(Exception, match="nowhere") as caught:
        Session().request("http://nowhere.invalid/", "POST", authenticated=False)
    assert not uncertain(failure(caught.value, sent=True, changes=True))


def test_a_login_that_is_refused_has_had_no_effect() -> None:
    assert not uncertain(failure(Unauthorized("no"), sent=True, changes=True))


def test_what_is_wrong_in_clouds_yaml_can_be_mended() -> None:
    assert not uncertain(failure(ConfigException("no such cloud"), sent=False, changes=True))


def test_a_bug_stays_a_bug() -> None:
    assert failure(KeyError("x"), sent=True, changes=True) is None
