"""What calls to OpenStack tell the governor of the account."""

import pytest
import requests
import yaml
from keystoneauth1 import exceptions as keystone

from chassis.errors import HostlerError, Retry, Terminal
from contracts.errors import ErrorCode
from drivers.governor import Lane
from drivers.openstack.calls import Answer, Call
from drivers.openstack.cloud import Cloud
from drivers.openstack.driver import OpenStackDriver
from drivers.openstack.settings import OpenStackSettings
from tests.unit.drivers.openstack.answers import answer
from tests.unit.drivers.openstack.conftest import Sending

GET = Call("compute", "GET", "/servers")
POST = Call("compute", "POST", "/servers")


def cloud(**settings: int) -> Cloud:
    return Cloud("demo", OpenStackSettings(circuit_failures=2, **settings))  # pyright: ignore[reportArgumentType] - numbers by name


async def ended(cloud: Cloud, call: Call = GET) -> HostlerError:
    with pytest.raises(HostlerError) as found:
        await cloud.ask(call)
    return found.value


@pytest.mark.parametrize("status", [429, 503, 413])
async def test_retry_after_pauses_the_whole_account(sending: Sending, status: int) -> None:
    asked = cloud()
    sending.results = [answer(status, {}, Retry_After="9"), answer(200, {})]
    await ended(asked)
    assert asked.rests_until() is not None
    refused = await ended(asked, POST)
    assert isinstance(refused, Retry)
    assert (refused.code, refused.uncertain) == (ErrorCode.CLOUD_BUSY, False)
    assert refused.after is not None
    assert len(sending.calls) == 1


@pytest.mark.parametrize(
    "silence",
    [
        answer(500, {}),
        answer(502, b"<html>"),
        answer(503, {}),
        keystone.ConnectFailure("refused"),
        keystone.ConnectTimeout("too slow"),
        keystone.DiscoveryFailure("no answer"),
        keystone.InternalServerError("Keystone is broken"),
        requests.ConnectionError("lost"),
    ],
)
async def test_no_answer_or_a_broken_cloud_opens_the_circuit(
    sending: Sending, silence: Answer | Exception
) -> None:
    asked = cloud()
    sending.results = [silence]
    await ended(asked)
    await ended(asked)
    assert asked.rests_until() is not None
    refused = await ended(asked, POST)
    assert isinstance(refused, Retry)
    assert (refused.code, refused.uncertain) == (ErrorCode.CLOUD_UNAVAILABLE, False)
    assert len(sending.calls) == 2


@pytest.mark.parametrize(
    "word",
    [
        answer(400, {}),
        answer(401, {}),
        answer(403, {}),
        answer(404, {}),
        answer(409, {}),
        answer(413, {}),
        answer(501, {}),
        keystone.Unauthorized("wrong password"),
        yaml.YAMLError("clouds.yaml is none"),
    ],
)
async def test_a_clouds_no_or_a_wrong_login_never_opens_it(
    sending: Sending, word: Answer | Exception
) -> None:
    asked = cloud()
    sending.results = [word]
    for _ in range(5):
        await ended(asked)
    assert asked.rests_until() is None
    assert len(sending.calls) == 5


async def test_sweeps_and_catalogs_go_in_their_own_lane(sending: Sending) -> None:
    driver = OpenStackDriver("demo", OpenStackSettings())
    sending.results = [answer(200, {"servers": [], "flavors": [], "images": [], "networks": []})]
    _ = [page async for page in driver.sweep(None)]
    with pytest.raises(Retry):  # the answer has no key pairs
        _ = [item async for item in driver.catalog()]
    assert {call.lane for call in sending.calls} == {Lane.SWEEP}
    sending.calls.clear()
    with pytest.raises(Retry):  # nor a server
        await driver.look("x")
    await driver.delete("x", "")
    await driver.ping()
    assert {call.lane for call in sending.calls} == {Lane.COMMAND}


async def test_commands_have_a_permit_left_however_the_settings_are(sending: Sending) -> None:
    limits = OpenStackSettings(threads=2, sweep_threads=64).limits
    assert (limits.concurrency, limits.sweeps) == (2, 1)
    assert not sending.calls


async def test_a_bug_is_neither_a_silence_nor_hidden(sending: Sending) -> None:
    asked = cloud()
    sending.results = [KeyError("bug")]
    for _ in range(3):
        with pytest.raises(KeyError):
            await asked.ask(GET)
    assert asked.rests_until() is None


async def test_a_cloud_that_is_too_old_is_told_and_not_taken_for_silent(sending: Sending) -> None:
    asked = cloud()
    sending.results = [Terminal(ErrorCode.UNSUPPORTED)]
    for _ in range(3):
        assert (await ended(asked)).code is ErrorCode.UNSUPPORTED
