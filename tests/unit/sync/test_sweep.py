"""What sync promises about VMs that it sweeps."""

from chassis.ids import new_id
from contracts.message import Body, Message
from contracts.vm.events import Observed, State
from contracts.vm.states import VmState
from tests.unit.sync.world import ACCOUNT, SyncWorld, changes, names, writes


async def test_a_marked_server_that_was_unknown_is_said_as_new(world: SyncWorld) -> None:
    vm_id = new_id()
    server_id = world.server(vm_id)
    messages = await world.sweep()
    assert names(messages) == ["vm.changed.v1", "vm.state.v1"]
    (change,) = changes(messages)
    assert (change.old, change.origin, change.version) == ({}, "external", 1)
    assert change.new["name"] == "web-1"
    assert change.vm.server_id == server_id
    assert change.observed_at == world.cloud.now
    assert {(m.subject, m.project_id, m.account) for m in messages} == {(str(vm_id), "p1", ACCOUNT)}
    assert all(m.actor == "cloud" and m.operation_id is None for m in messages)


async def test_a_change_behind_the_back_is_said_with_old_and_new(world: SyncWorld) -> None:
    _, server_id = await world.known()
    world.cloud.change(server_id, name="renamed", state=VmState.STOPPED)
    messages = await world.sweep()
    (change,) = changes(messages)
    assert change.old == {"name": "web-1", "state": "active"}
    assert change.new == {"name": "renamed", "state": "stopped"}
    assert (change.origin, change.version) == ("external", 2)
    state = messages[1].data
    assert isinstance(state, State)
    assert (state.version, state.vm) == (2, change.vm)


async def test_a_sweep_that_shows_nothing_new_says_and_writes_nothing(world: SyncWorld) -> None:
    await world.known()
    async with writes(world) as written:
        assert await world.sweep(after=1) == []
        assert await world.sweep() == []
    assert written == []


async def test_a_deleted_record_is_evidence_of_deletion(world: SyncWorld) -> None:
    _, server_id = await world.known()
    world.cloud.change(server_id, state=VmState.DELETED)
    world.cloud.servers[server_id].mark = None  # as Nova does
    (change,) = changes(await world.sweep())
    assert change.new == {"state": "deleted"}
    assert await world.sweep() == []


def times(messages: list[Message[Body]]) -> list[int]:
    """The seconds of the cloud's clock of what was observed."""
    return [m.data.observed_at.second for m in messages if isinstance(m.data, Observed)]


async def test_an_operation_is_told_once_after_its_call_and_then_now_and_again(
    world: SyncWorld,
) -> None:
    vm_id, server_id = await world.known()
    operation_id = await world.issued(vm_id, "vm.stop.v1", server_id)
    seen = [m for _ in range(20) for m in await world.sweep(after=0.5)]
    assert {m.operation_id for m in seen} == {operation_id}
    assert times(seen) == [15, 16, 19, 22, 25]
    assert world.cloud.called("look") == 0


async def test_an_operation_whose_vm_is_busy_is_told_little_until_that_is_over(
    world: SyncWorld,
) -> None:
    vm_id, server_id = await world.known()
    await world.issued(vm_id, "vm.reboot.v1", server_id)
    world.cloud.change(server_id, task="rebooting")
    assert times([m for _ in range(5) for m in await world.sweep(after=1)]) == [18]
    world.cloud.change(server_id, task=None)
    assert times([m for _ in range(2) for m in await world.sweep(after=1)]) == [21]


async def test_what_changed_is_said_before_that_it_was_observed(world: SyncWorld) -> None:
    vm_id, server_id = await world.known()
    operation_id = await world.issued(vm_id, "vm.stop.v1", server_id)
    world.cloud.change(server_id, state=VmState.STOPPED)
    messages = await world.sweep(after=1)
    assert names(messages) == ["vm.changed.v1", "vm.state.v1", "vm.observed.v1"]
    assert changes(messages)[0].origin == "hostler"
    assert {(m.operation_id, m.request_id, m.actor) for m in messages} == {
        (operation_id, "req-1", "key:alice")
    }
    assert all("0af7651916cd43dd8448eb211c80319c" in m.traceparent for m in messages)
