"""What sync promises to the operations that wait for what it sees."""

from datetime import timedelta

from chassis.ids import new_id
from chassis.testing import said
from contracts.errors import ErrorCode
from contracts.operation import events as operation
from contracts.operation.states import OperationError
from contracts.vm.events import Observed
from contracts.vm.states import VmState
from drivers.base import Mark
from tests.fakes.driver import LOST
from tests.unit.sync.world import SyncWorld, changes, failed, names


def observations(messages: list[object]) -> list[Observed]:
    return [d for d in (getattr(m, "data", None) for m in messages) if isinstance(d, Observed)]


async def test_a_create_under_way_is_known_and_nothing_is_said_yet(world: SyncWorld) -> None:
    vm_id = new_id()
    await world.started(vm_id, "vm.create.v1")
    row = await world.row(vm_id)
    assert row is not None
    assert (row.state, row.version, row.server_id) == ("requested", 0, None)
    assert await world.sweep() == []


async def test_a_created_vm_is_hostlers_change_from_its_first_sight(world: SyncWorld) -> None:
    vm_id = new_id()
    operation_id = await world.started(vm_id, "vm.create.v1")
    server_id = world.server(vm_id, state=VmState.BUILDING)
    await world.issued(vm_id, "vm.create.v1", server_id, operation_id)
    messages = await world.sweep(after=1)
    assert names(messages) == ["vm.changed.v1", "vm.state.v1"]
    assert changes(messages)[0].origin == "hostler"
    world.cloud.change(server_id, state=VmState.ACTIVE)
    messages = await world.sweep(after=1)
    assert names(messages) == ["vm.changed.v1", "vm.state.v1", "vm.observed.v1"]
    assert changes(messages)[0].new == {"state": "active"}
    await world.hear(vm_id, operation_id, operation.Succeeded(command="vm.create.v1"))
    assert await world.sweep() == []


async def test_only_issued_operations_are_reported_to(world: SyncWorld) -> None:
    vm_id, server_id = await world.known()
    operation_id = await world.started(vm_id, "vm.stop.v1")
    assert await world.sweep() == []
    await world.issued(vm_id, "vm.stop.v1", server_id, operation_id)
    assert names(await world.sweep(after=1)) == ["vm.observed.v1"]
    error = OperationError(code=ErrorCode.CLOUD_BUSY, detail="429")
    later = world.clock.now + timedelta(minutes=1)
    retrying = operation.Retrying(command="vm.stop.v1", attempt=1, due_at=later, error=error)
    await world.hear(vm_id, operation_id, retrying)
    assert await world.sweep() == []


async def test_what_was_seen_before_the_call_is_not_reported(world: SyncWorld) -> None:
    vm_id, server_id = await world.known()
    later = world.cloud.now + timedelta(seconds=5)
    await world.issued(vm_id, "vm.stop.v1", server_id, called_at=later)
    assert await world.sweep(after=4) == []
    assert names(await world.sweep(after=1)) == ["vm.observed.v1"]


async def test_an_update_is_looked_at_because_no_sweep_shows_it(world: SyncWorld) -> None:
    vm_id, server_id = await world.known()
    await world.sweep()
    await world.issued(vm_id, "vm.update.v1", server_id)
    server = world.cloud.servers[server_id]
    server.snapshot = server.snapshot.model_copy(update={"tags": ("blue",)})  # `updated` stays
    messages = await world.sweep(after=1)
    assert names(messages) == ["vm.changed.v1", "vm.state.v1", "vm.observed.v1"]
    assert changes(messages)[0].new == {"tags": ["blue"]}
    assert world.cloud.called("look") == 1


async def test_a_sync_command_gets_a_look_even_when_clocks_disagree(world: SyncWorld) -> None:
    vm_id, _ = await world.known()
    await world.issued(vm_id, "vm.sync.v1", called_at=world.clock.now + timedelta(hours=1))
    assert names(await world.sweep(after=1)) == ["vm.observed.v1"]
    assert world.cloud.called("look") == 1


async def test_a_look_in_the_second_of_the_call_is_soon_followed_by_another(
    world: SyncWorld,
) -> None:
    vm_id, server_id = await world.known()
    await world.issued(vm_id, "vm.update.v1", server_id)
    first = observations([*await world.sweep(after=0)])
    second = observations([*await world.sweep(after=1)])
    assert len(first) == len(second) == 1
    assert second[0].observed_at > first[0].observed_at


async def test_a_delete_on_a_cloud_that_forgets_at_once_is_seen_by_a_look(
    world: SyncWorld,
) -> None:
    vm_id, server_id = await world.known()
    await world.issued(vm_id, "vm.delete.v1", server_id)
    world.cloud.vanish(server_id)
    assert changes(await world.sweep(after=1)) == []
    messages = await world.sweep(after=1)
    (change,) = changes(messages)
    assert (change.new, change.origin) == ({"state": "deleted"}, "hostler")


async def test_a_delete_of_a_vm_without_a_server_ends_deleted(world: SyncWorld) -> None:
    vm_id = new_id()
    create = await world.started(vm_id, "vm.create.v1")
    await world.hear(vm_id, create, failed("vm.create.v1", gone=False))
    await world.issued(vm_id, "vm.delete.v1")
    messages = await world.sweep(after=3)
    assert [c.new["state"] for c in changes(messages)] == ["deleted"]
    assert world.cloud.called("find") == 1


async def test_a_delete_of_a_vm_that_sync_never_heard_of_ends_deleted(world: SyncWorld) -> None:
    vm_id = new_id()
    await world.issued(vm_id, "vm.delete.v1", "server-of-old")
    assert [c.new["state"] for c in changes(await world.sweep(after=3))] == ["deleted"]


async def test_a_create_that_no_sweep_shows_is_looked_for(world: SyncWorld) -> None:
    vm_id = new_id()
    await world.sweep()
    server_id = world.server(vm_id)
    server = world.cloud.servers[server_id]
    old = world.cloud.now - timedelta(days=1)
    server.snapshot = server.snapshot.model_copy(update={"updated_at": old})
    await world.issued(vm_id, "vm.create.v1")
    assert await world.sweep(after=1) == []
    messages = await world.sweep(after=5)
    assert names(messages) == ["vm.changed.v1", "vm.state.v1", "vm.observed.v1"]
    assert world.cloud.called("find") == 1


async def test_a_create_that_no_look_finds_claims_nothing(world: SyncWorld) -> None:
    vm_id = new_id()
    await world.issued(vm_id, "vm.create.v1")
    assert await world.sweep(after=6) == []
    assert world.cloud.called("find") == 1


async def test_a_failed_create_without_a_server_is_in_error(world: SyncWorld) -> None:
    vm_id = new_id()
    operation_id = await world.started(vm_id, "vm.create.v1")
    messages = await world.hear(vm_id, operation_id, failed("vm.create.v1", gone=False))
    assert names(messages) == ["vm.changed.v1", "vm.state.v1"]
    (change,) = changes(messages)
    assert (change.old["state"], change.new["state"]) == ("requested", "error")
    assert change.vm.fault is not None
    assert change.vm.fault.message == "No valid host was found."
    assert messages[0].operation_id == operation_id


async def test_a_failed_create_of_which_nothing_is_left_is_deleted(world: SyncWorld) -> None:
    vm_id = new_id()
    operation_id = await world.issued(vm_id, "vm.create.v1", world.server(vm_id))
    await world.sweep(after=1)
    messages = await world.hear(vm_id, operation_id, failed("vm.create.v1", gone=True))
    assert [c.new for c in changes(messages)] == [{"state": "deleted"}]


async def test_a_failed_create_with_a_server_is_what_the_cloud_shows(world: SyncWorld) -> None:
    vm_id = new_id()
    server_id = world.server(vm_id, state=VmState.ERROR)
    operation_id = await world.issued(vm_id, "vm.create.v1", server_id)
    told = await world.hear(vm_id, operation_id, failed("vm.create.v1", gone=False))
    assert told == []
    assert changes(await world.sweep())[0].new["state"] == "error"


async def test_a_cancelled_create_is_deleted(world: SyncWorld) -> None:
    vm_id = new_id()
    operation_id = await world.started(vm_id, "vm.create.v1")
    messages = await world.hear(vm_id, operation_id, operation.Cancelled(command="vm.create.v1"))
    assert [c.new for c in changes(messages)] == [{"state": "deleted"}]


async def test_an_end_that_is_told_twice_is_said_once(world: SyncWorld) -> None:
    vm_id = new_id()
    operation_id = await world.started(vm_id, "vm.create.v1")
    ends = [failed("vm.create.v1", gone=True), operation.Cancelled(command="vm.create.v1")]
    told = [m for end in [*ends, *ends] for m in await world.hear(vm_id, operation_id, end)]
    assert len(changes(told)) == 1


async def test_the_failure_of_another_command_says_nothing_of_the_vm(world: SyncWorld) -> None:
    vm_id, _ = await world.known()
    operation_id = await world.started(vm_id, "vm.stop.v1")
    assert await world.hear(vm_id, operation_id, failed("vm.stop.v1", gone=False)) == []
    assert await world.sweep() == []


async def test_a_second_server_of_one_vm_is_not_reported(world: SyncWorld) -> None:
    vm_id, server_id = await world.known()
    second = world.server(vm_id, "surplus")
    assert await world.sweep() == []
    world.cloud.change(second, state=VmState.DELETED)
    assert await world.sweep() == []
    row = await world.row(vm_id)
    assert row is not None
    assert row.server_id == server_id


async def test_a_deleted_vm_stays_deleted_whatever_appears_with_its_mark(world: SyncWorld) -> None:
    vm_id, server_id = await world.known()
    world.cloud.change(server_id, state=VmState.DELETED)
    await world.sweep()
    world.cloud.add("web-1", VmState.BUILDING, Mark(vm_id, "p1"))
    assert await world.sweep() == []


async def test_a_watch_whose_end_is_never_heard_runs_out(world: SyncWorld) -> None:
    vm_id, server_id = await world.known()
    await world.issued(vm_id, "vm.stop.v1", server_id)
    assert len(await world.sweep(after=1)) == 1
    world.clock.advance(minutes=20)
    await world.sweep()
    assert await world.sweep() == []


async def test_a_failing_look_stops_neither_sweeps_nor_other_looks(world: SyncWorld) -> None:
    first, _ = await world.known("one")
    second, _ = await world.known("two")
    await world.issued(first, "vm.sync.v1")
    await world.issued(second, "vm.sync.v1")
    world.cloud.order("look", LOST)
    assert len(observations([*await world.sweep(after=1)])) == 1
    seen = [m for _ in range(6) for m in await world.sweep(after=1)]
    assert {m.subject for m in seen} >= {str(first), str(second)}


async def test_a_message_that_begins_to_watch_wakes_the_sweeper(world: SyncWorld) -> None:
    vm_id, _ = await world.known()
    assert not world.sweeper.wake.is_set()
    await world.started(vm_id, "vm.stop.v1")
    assert world.sweeper.wake.is_set()


async def test_an_account_with_a_watch_is_swept_at_the_fast_interval(world: SyncWorld) -> None:
    vm_id, _ = await world.known()
    world.clock.advance(seconds=1)
    assert await world.sweeper.pause() > 0
    operation_id = await world.started(vm_id, "vm.stop.v1")
    assert await world.sweeper.pause() <= 0
    await world.hear(vm_id, operation_id, operation.Succeeded(command="vm.stop.v1"))
    assert await world.sweeper.pause() > 0
    assert await said(world.service.database) == []
