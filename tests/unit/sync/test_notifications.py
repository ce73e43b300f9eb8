"""What sync promises about Nova's notifications: they are hints to look at once, and no more."""

import asyncio
import gc
import json
from collections.abc import Callable
from uuid import uuid4

import pytest
from aio_pika import Connection
from pydantic import SecretStr, ValidationError
from yarl import URL

from chassis.ids import new_id
from contracts.vm.states import VmState
from services.sync.notifications import Notifications, OwnedConnection, told_in
from services.sync.settings import SyncSettings
from tests.fakes.driver import LOST
from tests.unit.sync.world import ACCOUNT, SyncWorld, changes

NOWHERE = SecretStr("amqp://guest:guest@127.0.0.1:1/")


OURS, THEIRS = "5b1d3c0f8a724c5b9f0e6d7a2c4e8b19", "c2d9b1f6e0a84d3f8b7a6c5d4e3f2a10"
"""Tenants: the one of the account, and another one of the same cloud."""


def notification(
    server_id: str,
    tenant: str | None = OURS,
    *,
    event_type: str = "instance.power_off.end",
    enveloped: bool = True,
) -> bytes:
    """As Nova says it on the bus, in its shape of a versioned notification."""
    said: dict[str, object] = {
        "event_type": event_type,
        "publisher_id": "nova-compute:compute1",
        "priority": "INFO",
        "payload": {
            "nova_object.name": "InstanceActionPayload",
            "nova_object.data": {"uuid": server_id, "tenant_id": tenant, "state": "stopped"},
        },
    }
    if enveloped:
        said = {"oslo.version": "2.0", "oslo.message": json.dumps(said)}
    return json.dumps(said).encode()


@pytest.fixture
def notifications(world: SyncWorld) -> Notifications:
    return Notifications(world.sweeper, NOWHERE)


@pytest.mark.parametrize("enveloped", [True, False])
def test_the_server_is_read_with_or_without_an_envelope(*, enveloped: bool) -> None:
    server_id = str(uuid4())
    assert told_in(notification(server_id, OURS, enveloped=enveloped)) == (server_id, OURS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"oslo.message": "not json"}',
        b'{"oslo.message": "{}"}',
        b'{"payload": {"nova_object.data": {"uuid": "../../etc/passwd"}}}',
        b'{"payload": {"nova_object.data": {"id": 7, "hosts": ["compute1"]}}}',
        b"[" * 100_000,
        notification(str(uuid4()), event_type="instance.exists"),
        notification(str(uuid4()), None, event_type="service.update"),
    ],
)
async def test_garbage_is_passed_over(
    world: SyncWorld, notifications: Notifications, body: bytes
) -> None:
    assert told_in(body) is None
    await world.sweep()
    assert not await notifications.take([body])
    assert await world.sweeper.pause() > 0


async def test_a_notification_has_the_changes_swept_at_once(
    world: SyncWorld, notifications: Notifications
) -> None:
    _, server_id = await world.known()
    assert await world.sweeper.pause() > 0
    world.cloud.change(server_id, state=VmState.STOPPED)
    assert await notifications.take([notification(str(uuid4()))])
    assert world.sweeper.wake.is_set()
    assert await world.sweeper.pause() <= 0
    assert [c.new for c in changes(await world.sweep(after=0))] == [{"state": "stopped"}]
    assert await world.sweeper.pause() > 0, "one hint is one sweep"


async def test_a_thousand_notifications_are_one_sweep(
    world: SyncWorld, notifications: Notifications
) -> None:
    await world.sweep()
    before = world.cloud.called("sweep")
    assert await notifications.take([notification(str(uuid4())) for _ in range(1000)])
    await world.sweep(after=0)
    assert await world.sweeper.pause() > 0
    assert world.cloud.called("sweep") == before + 1


async def test_what_is_said_of_other_peoples_servers_is_no_hint(
    world: SyncWorld, notifications: Notifications
) -> None:
    theirs = str(uuid4())
    world.cloud.servers[theirs] = world.cloud.servers.pop(world.cloud.add("theirs"))
    snapshot = world.cloud.servers[theirs].snapshot
    world.cloud.servers[theirs].snapshot = snapshot.model_copy(update={"server_id": theirs})
    await world.sweep()
    assert not await notifications.take([notification(theirs)])
    assert await notifications.take([notification(theirs), notification(str(uuid4()))])


async def test_what_other_tenants_do_is_no_hint_and_costs_the_cloud_no_call(
    world: SyncWorld, notifications: Notifications
) -> None:
    await world.sweep()
    crowd = [notification(str(uuid4()), THEIRS) for _ in range(200)]
    for _ in range(20):
        assert not await notifications.take(crowd)
        assert not notifications.pay()
        world.clock.advance(seconds=0.1)
    assert await world.sweeper.pause() > 0
    assert world.cloud.called("tenant") == 1
    assert world.cloud.called("sweep") == 1
    assert await notifications.take([*crowd, notification(str(uuid4()), OURS)])


async def test_a_vm_of_ours_is_a_hint_whatever_is_said_of_its_tenant(
    world: SyncWorld, notifications: Notifications
) -> None:
    server_id = str(uuid4())
    world.cloud.servers[server_id] = held = world.cloud.servers.pop(world.server(new_id()))
    held.snapshot = held.snapshot.model_copy(update={"server_id": server_id})
    await world.sweep()
    assert await notifications.take([notification(server_id, THEIRS)])


async def test_hints_of_nobody_knows_whose_servers_keep_a_distance(
    world: SyncWorld, notifications: Notifications
) -> None:
    await world.sweep()
    world.cloud.order("tenant", LOST, times=100)
    hints = 0
    for _ in range(100):
        hints += await notifications.take([notification(str(uuid4()), THEIRS)])
        hints += notifications.pay()
        world.clock.advance(seconds=0.1)
    assert 4 <= hints <= 6
    assert world.cloud.called("tenant") == 1
    world.clock.advance(seconds=2)
    assert notifications.pay(), "the last of them has its hint, too"
    assert not notifications.pay()


async def test_a_hint_hurries_no_cloud_that_asked_for_time(
    world: SyncWorld, notifications: Notifications
) -> None:
    await world.known()
    world.cloud.order("sweep", LOST)
    await world.fail_to_sweep()
    assert await notifications.take([notification(str(uuid4()))])
    assert await world.sweeper.pause() > 0


async def test_without_rabbitmq_the_sweeps_go_on_and_readyz_says_why(
    world: SyncWorld, notifications: Notifications
) -> None:
    world.sweeper.leads = True
    listening = asyncio.create_task(notifications.run())
    try:
        async with asyncio.timeout(20):
            while "failed" not in notifications.state:
                await asyncio.sleep(0.01)
        with pytest.raises(ConnectionError, match="Connect call failed") as raised:
            await notifications.probe()
        assert "guest" not in str(raised.value)
        assert await world.sweep() == []
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_who_does_not_lead_the_sweeps_does_not_listen(
    world: SyncWorld, notifications: Notifications
) -> None:
    assert not world.sweeper.leads
    listening = asyncio.create_task(notifications.run())
    await asyncio.sleep(0)
    assert await notifications.probe() == "another replica listens"
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


@pytest.mark.parametrize(
    "notifications", [{"elsewhere": "amqp://127.0.0.1/"}, {ACCOUNT: "https://127.0.0.1/"}]
)
def test_settings_that_cannot_be_meant_are_refused_without_telling_the_url(
    notifications: dict[str, SecretStr],
) -> None:
    with pytest.raises(ValidationError, match="notifications") as raised:
        SyncSettings(projects={"p1": ACCOUNT}, notifications=notifications)
    messages = [error["msg"] for error in raised.value.errors(include_input=False)]
    assert "127.0.0.1" not in str(messages)


def left_behind(connection: Callable[[URL, asyncio.AbstractEventLoop], object]) -> None:
    """One that never opened, collected where no loop runs."""
    loop = asyncio.new_event_loop()
    connection(URL(NOWHERE.get_secret_value()), loop)
    gc.collect()
    loop.close()


async def test_a_connection_that_never_opened_ends_without_a_trace(
    recwarn: pytest.WarningsRecorder,
) -> None:
    await asyncio.to_thread(left_behind, OwnedConnection)
    assert [str(warning.message) for warning in recwarn] == []
    await asyncio.to_thread(left_behind, Connection)
    assert recwarn.pop(RuntimeWarning), "aio_pika's own needs no such care any more"
