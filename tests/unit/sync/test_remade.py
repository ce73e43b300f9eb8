"""What sync promises about creates whose server is deleted and made anew while they are under way."""

from datetime import timedelta

import pytest

from chassis.ids import new_id
from contracts.errors import ErrorCode
from contracts.operation import events as operation
from contracts.operation.states import OperationError
from contracts.vm.states import VmState
from drivers.base import Mark
from tests.unit.sync.world import SyncWorld, changes, failed

CREATE = "vm.create.v1"


def retrying(world: SyncWorld, minutes: int = 15) -> operation.Retrying:
    error = OperationError(code=ErrorCode.CLOUD_FAULT, detail="No valid host was found.")
    now = world.clock.now
    return operation.Retrying(
        command=CREATE,
        attempt=1,
        due_at=now,
        error=error,
        deadline_at=now + timedelta(minutes=minutes),
    )


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("state", ["started", "issued", "retrying"])
async def test_a_vm_whose_server_goes_while_it_is_made_is_requested_and_the_next_one_is_it(
    world: SyncWorld, state: str, *, forgets: bool
) -> None:
    vm_id = new_id()
    operation_id = await world.started(vm_id, CREATE)
    first = world.server(vm_id, state=VmState.BUILDING)
    if state != "started":
        await world.issued(vm_id, CREATE, first, operation_id)
    await world.sweep(after=1)
    if state == "retrying":
        await world.hear(vm_id, operation_id, retrying(world))
    if forgets:
        world.cloud.vanish(first)
        world.clock.advance(seconds=601)
    else:
        world.cloud.change(first, state=VmState.DELETED)
        world.cloud.servers[first].mark = None
    found = [*changes(await world.sweep(after=1)), *changes(await world.sweep(after=6))]
    assert [(c.new["state"], c.new["server_id"]) for c in found] == [("requested", None)]
    assert found[0].origin == "hostler"
    second = world.server(vm_id)
    (change,) = changes(await world.sweep(after=1))
    assert (change.vm.state, change.vm.server_id) == (VmState.ACTIVE, second)


async def test_the_new_server_is_known_by_its_order_where_no_sweep_shows_it(
    world: SyncWorld,
) -> None:
    vm_id = new_id()
    first = world.server(vm_id, state=VmState.BUILDING)
    operation_id = await world.issued(vm_id, CREATE, first)
    await world.sweep(after=1)
    await world.hear(vm_id, operation_id, retrying(world))
    second = world.server(vm_id)
    world.cloud.vanish(first)
    await world.issued(vm_id, CREATE, second, operation_id)
    (change,) = changes(await world.sweep(after=1))
    assert (change.vm.state, change.vm.server_id) == (VmState.ACTIVE, second)


@pytest.mark.parametrize("end", [failed(CREATE, gone=True), operation.Cancelled(command=CREATE)])
async def test_only_the_creates_own_end_closes_a_vm_without_a_server(
    world: SyncWorld, end: operation.Failed | operation.Cancelled
) -> None:
    vm_id = new_id()
    first = world.server(vm_id, state=VmState.BUILDING)
    operation_id = await world.issued(vm_id, CREATE, first)
    await world.sweep(after=1)
    world.cloud.change(first, state=VmState.DELETED)
    await world.sweep(after=1)
    assert [c.new for c in changes(await world.hear(vm_id, operation_id, end))] == [
        {"state": "deleted"}
    ]
    world.cloud.add("late", VmState.ACTIVE, Mark(vm_id, "p1"))
    assert await world.sweep() == []


async def test_a_server_that_goes_as_its_create_succeeds_leaves_no_vm_requested_for_ever(
    world: SyncWorld,
) -> None:
    vm_id = new_id()
    server_id = world.server(vm_id)
    operation_id = await world.issued(vm_id, CREATE, server_id)
    await world.sweep(after=1)
    world.cloud.change(server_id, state=VmState.DELETED)
    assert [c.new["state"] for c in changes(await world.sweep(after=1))] == ["requested"]
    world.cloud.vanish(server_id)
    succeeded = operation.Succeeded(command=CREATE, server_id=server_id)
    await world.hear(vm_id, operation_id, succeeded)
    assert [c.new["state"] for c in changes(await world.sweep(after=1))] == ["missing"]


async def test_a_deadline_that_moves_is_watched_for_as_long(world: SyncWorld) -> None:
    vm_id = new_id()
    operation_id = await world.started(vm_id, CREATE)
    world.clock.advance(minutes=14)
    await world.hear(vm_id, operation_id, retrying(world))
    world.clock.advance(minutes=14)
    await world.sweep()
    server_id = world.server(vm_id, state=VmState.BUILDING)
    await world.sweep()
    world.cloud.change(server_id, state=VmState.DELETED)
    assert [c.new["state"] for c in changes(await world.sweep())] == ["requested"]


async def test_a_create_that_is_heard_of_after_its_first_server_was_gone_goes_on_with_the_next(
    world: SyncWorld,
) -> None:
    vm_id = new_id()
    first = world.server(vm_id, state=VmState.BUILDING)
    called_at = world.cloud.now
    await world.sweep()
    world.cloud.change(first, state=VmState.DELETED)
    assert [c.new["state"] for c in changes(await world.sweep())] == ["deleted"]
    operation_id = await world.issued(vm_id, CREATE, first, called_at=called_at)
    await world.hear(vm_id, operation_id, retrying(world))
    assert await world.sweep(after=1) == [], "what is heard late brings no server back"
    world.clock.advance(seconds=1)
    second = world.server(vm_id)
    await world.issued(vm_id, CREATE, second, operation_id)
    (change,) = changes(await world.sweep(after=1))
    assert (change.vm.state, change.vm.server_id) == (VmState.ACTIVE, second)
