"""Sync gives way to users' commands where a cloud is too busy for both, and never for ever."""

from datetime import timedelta

import pytest

from chassis.ids import new_id
from contracts.errors import ErrorCode
from contracts.operation import events as operation
from contracts.operation.states import OperationError
from contracts.vm.states import VmState
from services.sync.giving_way import may_list
from services.sync.tables import Account
from tests.unit.sync.world import SyncWorld, changes

REBOOT = "vm.reboot.v1"


async def put_off(world: SyncWorld, seconds: float, code: ErrorCode = ErrorCode.CLOUD_BUSY) -> None:
    """Hear that the cloud did not take an order and when that is tried again."""
    vm_id, operation_id = new_id(), new_id()
    due = world.clock() + timedelta(seconds=seconds)
    error = OperationError(code=code, detail="429")
    retrying = operation.Retrying(command=REBOOT, attempt=1, due_at=due, error=error)
    await world.hear(vm_id, operation_id, retrying)


async def hasty(world: SyncWorld) -> None:
    """An account that is swept at its fastest, for an operation is under way."""
    vm_id, _ = await world.known()
    await world.started(vm_id, REBOOT)
    await world.sweep()


async def next_sweep(world: SyncWorld) -> float:
    """After how many seconds the next sweep begins."""
    passed = 0.0
    while (pause := await world.sweeper.pause()) > 0:
        world.clock.advance(seconds=pause)
        passed += pause
    return passed


@pytest.mark.parametrize(("waits", "rests"), [(0, 0.5), (3, 6), (30, 10)])
async def test_while_commands_are_put_off_sweeps_rest_twice_as_long_up_to_their_slow_pace(
    world: SyncWorld, waits: float, rests: float
) -> None:
    await hasty(world)
    await put_off(world, waits)
    if waits:
        world.sweeper.hint()
    assert await next_sweep(world) == rests


async def test_an_order_that_fails_for_another_reason_slows_no_sweep(world: SyncWorld) -> None:
    await hasty(world)
    await put_off(world, 30, ErrorCode.QUOTA)
    assert await next_sweep(world) == 0.5


async def test_another_replica_gives_way_too(world: SyncWorld) -> None:
    await hasty(world)
    await put_off(world, 30)
    await world.sweeper.lease.release()
    other = world.replica()
    assert await other.sweepers[next(iter(other.sweepers))].pause() > 0
    assert (await world.account()).retry_at == world.clock() + timedelta(seconds=60)
    await other.database.close()


async def test_a_sweep_that_was_under_way_does_not_end_it_and_time_does(world: SyncWorld) -> None:
    await hasty(world)
    await put_off(world, 10)
    await world.sweep(after=1)
    assert await next_sweep(world) == 10
    await world.sweep(after=10)
    assert (await world.account()).retry_at is None
    assert await next_sweep(world) == 0.5


async def test_however_often_commands_are_put_off_vms_are_still_seen(world: SyncWorld) -> None:
    _, server_id = await world.known()
    await hasty(world)
    world.cloud.change(server_id, state=VmState.STOPPED)
    seen = 0
    for _ in range(12):
        await put_off(world, 30)
        world.clock.advance(seconds=1)
        if await world.sweeper.pause() <= 0:
            seen += len(changes(await world.sweep(after=0)))
    assert seen == 1


def test_what_is_listed_now_and_then_is_put_off_by_an_interval_at_most(world: SyncWorld) -> None:
    now, interval = world.clock(), timedelta(seconds=60)
    account = Account(account="demo", retry_at=now + timedelta(seconds=5))
    assert not may_list(account, now, interval, now)
    assert may_list(account, now - interval, interval, now)
    account.retry_at = now
    assert may_list(account, now, interval, now)
    assert not may_list(account, now + timedelta(seconds=1), interval, now)
