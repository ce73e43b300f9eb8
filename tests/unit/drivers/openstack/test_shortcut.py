"""The short way of an order: what arrives is what keystoneauth would have sent."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread
from typing import Any, cast
from unittest.mock import patch

import pytest
import requests
from keystoneauth1.adapter import Adapter
from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token
from openstack.proxy import Proxy
from requests.adapters import HTTPAdapter

from drivers.openstack.calls import Call
from drivers.openstack.shortcut import Shortcut, widen

TIMEOUT = (5.0, 5.0)
REQUEST_ID = "req-0b0c6f3e-54a3-4b8c-9a51-7f2c4d1e8a90"
CREATE = Call("compute", "POST", "/servers", body={"server": {"name": "ü"}}, request_id=REQUEST_ID)
DELETE = Call("compute", "DELETE", "/servers/{id}", ids={"id": "a/b"})


class Nova(BaseHTTPRequestHandler):
    """Keeps what arrives, and answers with what the test has laid out."""

    protocol_version = "HTTP/1.1"
    arrived: list[tuple[str, str, dict[str, str], bytes]]
    statuses: list[int]
    cut: bool

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.arrived.append((self.command, self.path, headers, body))
        status = self.statuses.pop(0) if self.statuses else 202
        self.send_response(status)
        self.send_header("Content-Length", "2" if not self.cut else "200")
        if status == 307:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(b"{}")
        self.close_connection = self.cut

    do_POST = do_DELETE = _answer  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Say nothing."""


class Login(Token):
    """A token that can be had anew once it was refused."""

    tokens = 1

    def get_token(self, session: Any) -> str:
        return f"token-{self.tokens}"

    def invalidate(self) -> bool:
        self.tokens += 1
        return True


class Cloud:
    """A Nova, and both ways to it."""

    def __init__(self, port: int, handler: type[Nova]) -> None:
        self.arrived, self.handler = handler.arrived, handler
        self.session = Session(auth=Login(f"http://127.0.0.1:{port}/v2.1", "unused"))
        self.session.session.trust_env = False
        self.adapter: Any = Adapter(self.session, service_type="compute")
        self.endpoint = f"http://127.0.0.1:{port}/v2.1/"

    @property
    def shortcut(self) -> Shortcut:
        return Shortcut(cast("Proxy", self.adapter), self.endpoint, "2.79")

    def long_way(self, call: Call) -> requests.Response:
        return self.adapter.request(
            call.path,
            call.method,
            endpoint_override=self.endpoint,
            raise_exc=False,
            global_request_id=call.global_request_id,
            json=call.body,
            microversion="2.79",
        )


@contextmanager
def nova() -> Generator[Cloud]:
    handler = type("Handler", (Nova,), {"arrived": [], "statuses": [], "cut": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    serving.start()
    cloud = Cloud(server.server_port, cast("type[Nova]", handler))
    try:
        yield cloud
    finally:
        cloud.session.session.close()
        server.shutdown()
        server.server_close()


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with nova() as made:
        yield made


@pytest.mark.parametrize("call", [CREATE, DELETE], ids=["create", "delete"])
def test_the_same_request_arrives_by_either_way(cloud: Cloud, call: Call) -> None:
    cloud.long_way(call)
    answer = cloud.shortcut.send(call, TIMEOUT)
    assert answer is not None
    assert (answer.status_code, answer.content) == (202, b"{}")
    (method, path, long, body), (its_method, its_path, short, its_body) = cloud.arrived
    assert (its_method, its_path) == (method, path)
    assert json.loads(its_body or b"null") == json.loads(body or b"null")
    of_no_matter = {"user-agent", "content-length", "connection", "accept-encoding", "accept"}
    assert {k: v for k, v in short.items() if k not in of_no_matter} == {
        k: v for k, v in long.items() if k not in of_no_matter
    }


def test_a_refused_token_is_taken_anew_once(cloud: Cloud) -> None:
    cloud.handler.statuses = [401, 401]
    answer = cloud.shortcut.send(CREATE, TIMEOUT)
    assert answer is not None
    assert answer.status_code == 401
    tokens = [headers["x-auth-token"] for _, _, headers, _ in cloud.arrived]
    assert tokens == ["token-1", "token-2"]


def test_what_is_out_of_the_ordinary_goes_the_long_way(cloud: Cloud) -> None:
    look = Call("compute", "GET", "/servers/{id}", ids={"id": "x"})
    port = Call("network", "DELETE", "/ports/{id}", ids={"id": "x"})
    assert [cloud.shortcut.send(call, TIMEOUT) for call in (look, port)] == [None, None]
    cloud.session.session.auth = ("user", "password")
    assert cloud.shortcut.send(CREATE, TIMEOUT) is None
    cloud.session.session.auth = None
    with patch.object(Login, "get_connection_params", return_value={"cert": "x"}):
        assert cloud.shortcut.send(CREATE, TIMEOUT) is None
    assert cloud.arrived == []
    cloud.handler.statuses = [307]
    assert cloud.shortcut.send(CREATE, TIMEOUT) is None


def test_certificates_and_proxies_are_those_of_the_environment(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    def send(_adapter: HTTPAdapter, request: Any, **how: Any) -> requests.Response:
        sent.append(how)
        answer = requests.Response()
        answer.status_code, answer.raw = 202, BytesIO(b"{}")
        return answer

    monkeypatch.setattr(HTTPAdapter, "send", send)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/ca.pem")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "")
    cloud.session.session.trust_env = True
    cloud.long_way(CREATE)
    assert cloud.shortcut.send(CREATE, TIMEOUT) is not None
    long, short = ({k: dict(h)[k] for k in ("verify", "cert")} for h in sent)
    assert short == long == {"verify": "/ca.pem", "cert": None}
    assert sent[1]["proxies"]["http"] == sent[0]["proxies"]["http"] == "http://proxy.example:3128"


def test_an_answer_that_is_cut_short_is_a_failure_of_the_call(cloud: Cloud) -> None:
    cloud.handler.cut = True
    with pytest.raises(requests.RequestException):
        cloud.shortcut.send(CREATE, TIMEOUT)


def test_as_many_connections_stay_open_as_there_are_calls_at_a_time() -> None:
    session = Session()
    widen(session.session, 16)
    adapter: Any = session.session.get_adapter("http://cloud.example")
    assert adapter.poolmanager.connection_pool_kw["maxsize"] == 16
    session.session.close()
