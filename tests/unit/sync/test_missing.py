"""What sync promises about VMs that are not seen: no list is evidence, a look at the VM is."""

from datetime import timedelta

import pytest

from chassis.errors import Retry
from contracts.errors import ErrorCode
from contracts.vm.states import VmState
from services.sync.health import SweptProbe
from tests.fakes.driver import BUSY, LOST
from tests.unit.sync.world import ACCOUNT, SyncWorld, changes, names


async def until_full(world: SyncWorld) -> None:
    """Sweep once more, when all servers are to be listed."""
    assert await world.sweep(after=601) == []


async def test_an_unseen_vm_that_answers_404_is_missing(world: SyncWorld) -> None:
    _, server_id = await world.known()
    world.cloud.vanish(server_id)
    await until_full(world)
    messages = await world.sweep()
    assert names(messages) == ["vm.changed.v1", "vm.state.v1"]
    (change,) = changes(messages)
    assert (change.new, change.origin) == ({"state": "missing"}, "external")
    assert (change.vm.name, change.vm.server_id) == ("web-1", server_id)
    assert await world.sweep() == []


async def test_an_unseen_vm_that_answers_is_what_it_was(world: SyncWorld) -> None:
    vm_id, server_id = await world.known()
    hidden = world.cloud.servers.pop(server_id)
    await until_full(world)
    world.cloud.servers[server_id] = hidden
    assert await world.sweep() == []
    row = await world.row(vm_id)
    assert row is not None
    assert (row.state, row.look_due_at) == ("active", None)


async def test_a_vm_deleted_between_a_sweep_and_a_full_one_is_deleted_not_missing(
    world: SyncWorld,
) -> None:
    _, server_id = await world.known()
    await until_full(world)
    world.cloud.change(server_id, state=VmState.DELETED)
    world.clock.advance(seconds=601)
    messages = await world.sweep(after=0)
    assert [c.new["state"] for c in changes(messages)] == ["deleted"]
    assert await world.sweep() == []


async def test_a_missing_vm_that_shows_again_is_what_it_shows(world: SyncWorld) -> None:
    _, server_id = await world.known()
    hidden = world.cloud.servers.pop(server_id)
    await until_full(world)
    await world.sweep()
    world.cloud.servers[server_id] = hidden
    (change,) = changes(await world.sweep(after=601))
    assert (change.old, change.new) == ({"state": "missing"}, {"state": "active"})


@pytest.mark.parametrize("error", [LOST, BUSY, RuntimeError("a bug in the driver")])
async def test_a_sweep_that_fails_makes_nothing_missing(world: SyncWorld, error: Exception) -> None:
    vm_id, server_id = await world.known()
    world.cloud.vanish(server_id)
    world.cloud.order("sweep", error)
    world.clock.advance(seconds=600)
    assert await world.fail_to_sweep() == []
    row = await world.row(vm_id)
    assert row is not None
    assert (row.state, row.look_due_at) == ("active", None)


async def test_an_empty_list_alone_makes_nothing_missing(world: SyncWorld) -> None:
    _, server_id = await world.known()
    world.cloud.vanish(server_id)
    assert await world.sweep() == []
    await until_full(world)
    world.cloud.order("look", LOST, times=2)
    assert await world.sweep() == []
    assert await world.sweep() == []
    assert [c.new["state"] for c in changes(await world.sweep())] == ["missing"]


async def test_looks_per_round_are_bounded(world: SyncWorld) -> None:
    for n in range(25):
        await world.known(f"web-{n}")
    world.cloud.servers.clear()
    await until_full(world)
    found: list[int] = []
    for _ in range(4):
        before = world.cloud.called("look")
        await world.sweep()
        found.append(world.cloud.called("look") - before)
    assert found == [10, 10, 5, 0]


async def test_a_failed_sweep_waits_as_long_as_the_cloud_asks(world: SyncWorld) -> None:
    await world.known()
    world.cloud.order("sweep", Retry(ErrorCode.CLOUD_BUSY, "429", after=timedelta(seconds=33)))
    await world.fail_to_sweep()
    account = await world.account()
    assert account.retry_at == world.clock.now + timedelta(seconds=33)
    assert (account.failures, "429" in account.error) == (1, True)
    await world.sweep(after=33)
    account = await world.account()
    assert (account.failures, account.error, account.retry_at) == (0, "", None)


async def test_the_next_sweep_begins_where_the_last_complete_one_did(world: SyncWorld) -> None:
    _, server_id = await world.known()
    since = (await world.account()).since
    world.cloud.change(server_id, name="renamed")
    world.cloud.order("sweep", LOST, times=3)
    for _ in range(3):
        await world.fail_to_sweep()
    assert (await world.account()).since == since
    assert [c.new for c in changes(await world.sweep())] == [{"name": "renamed"}]


async def test_a_cloud_that_is_down_is_shown_with_its_reason(world: SyncWorld) -> None:
    world.cloud.order("sweep", LOST)
    await world.fail_to_sweep()
    probe = SweptProbe(world.service.database, ACCOUNT, world.clock)
    with pytest.raises(ConnectionError, match="connection lost"):
        await probe()
    await world.sweep()
    assert "swept" in await probe()
