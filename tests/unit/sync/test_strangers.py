"""What sync promises about servers that are no VM of Hostler's, and about taking them in."""

from uuid import UUID

import pytest

from chassis.ids import new_id
from chassis.testing import said
from contracts.inventory.events import UnmanagedServer
from contracts.message import Body, Message
from contracts.operation import events as operation
from contracts.vm.states import VmState
from drivers.base import Mark, Seen
from services.sync.recording import record
from tests.unit.sync.world import ACCOUNT, SyncWorld, changes, failed, names

IMPORT = "vm.import.v1"


def unmanaged(messages: list[Message[Body]]) -> list[tuple[str, bool, VmState]]:
    found = [m for m in messages if isinstance(m.data, UnmanagedServer)]
    assert all(m.subject.startswith(f"{ACCOUNT}/server/server-") for m in found)
    return [
        (d.server_id, d.gone, d.vm.state)
        for d in (m.data for m in found)
        if isinstance(d, UnmanagedServer)
    ]


async def imported(world: SyncWorld) -> tuple[UUID, str]:
    """A server without a mark that was taken in; its VM's id and its own."""
    server_id = world.cloud.add("old-timer")
    await world.sweep()
    vm_id = new_id()
    operation_id = await world.issued(vm_id, IMPORT, server_id)
    await world.sweep(after=1)
    await world.hear(vm_id, operation_id, operation.Succeeded(command=IMPORT, server_id=server_id))
    return vm_id, server_id


async def test_a_server_without_a_mark_is_told_once_and_again_when_it_differs(
    world: SyncWorld,
) -> None:
    server_id = world.cloud.add("somebody-elses")
    messages = await world.sweep()
    assert unmanaged(messages) == [(server_id, False, VmState.ACTIVE)]
    assert names(messages) == ["unmanaged.server.v1"]
    assert await world.sweep(after=1) == []
    world.cloud.change(server_id)
    assert await world.sweep() == [], "that it was touched is no difference"
    world.cloud.change(server_id, state=VmState.STOPPED)
    assert unmanaged(await world.sweep()) == [(server_id, False, VmState.STOPPED)]


async def test_a_stranger_that_is_deleted_is_gone(world: SyncWorld) -> None:
    server_id = world.cloud.add("somebody-elses")
    await world.sweep()
    world.cloud.change(server_id, state=VmState.DELETED)
    assert unmanaged(await world.sweep()) == [(server_id, True, VmState.DELETED)]
    assert await world.sweep(after=601) == []


async def test_a_stranger_that_no_complete_list_shows_is_gone(world: SyncWorld) -> None:
    server_id = world.cloud.add("somebody-elses")
    await world.sweep()
    world.cloud.vanish(server_id)
    assert await world.sweep() == []
    assert unmanaged(await world.sweep(after=601)) == [(server_id, True, VmState.MISSING)]


async def test_an_imported_server_whose_vm_is_dropped_while_it_is_looked_at_makes_no_vm(
    world: SyncWorld,
) -> None:
    """Its VM's row was found by the server, and is gone when it is to be written."""
    server_id = world.cloud.add("old-timer")
    seen = {new_id(): [Seen(world.cloud.servers[server_id].snapshot, None)]}
    async with world.service.database.session() as session:
        await record(session, world.sweeper.watching, seen, world.cloud.now)
    assert await said(world.service.database) == []


async def test_a_server_that_the_cloud_cannot_describe_is_nobodys(world: SyncWorld) -> None:
    world.cloud.add("half-seen", VmState.UNKNOWN)
    assert await world.sweep() == []


async def test_an_imported_server_is_a_vm_and_no_stranger(world: SyncWorld) -> None:
    server_id = world.cloud.add("old-timer")
    await world.sweep()
    vm_id = new_id()
    operation_id = await world.started(vm_id, IMPORT)
    issued = operation.Issued(command=IMPORT, server_id=server_id, called_at=world.cloud.now)
    told = await world.hear(vm_id, operation_id, issued)
    assert unmanaged(told) == [(server_id, True, VmState.UNKNOWN)]
    messages = await world.sweep(after=1)
    assert names(messages) == ["vm.changed.v1", "vm.state.v1", "vm.observed.v1"]
    (change,) = changes(messages)
    assert (change.vm.name, change.vm.server_id, change.origin) == (
        "old-timer",
        server_id,
        "hostler",
    )
    assert {m.operation_id for m in messages} == {operation_id}


async def test_a_vm_without_a_mark_is_swept_looked_at_and_deleted_as_any_other(
    world: SyncWorld,
) -> None:
    _, server_id = await imported(world)
    world.cloud.change(server_id, name="renamed")
    assert [c.new for c in changes(await world.sweep())] == [{"name": "renamed"}]
    assert await world.sweep(after=601) == []
    assert await world.sweep() == []
    world.cloud.change(server_id, state=VmState.DELETED)
    assert [c.new for c in changes(await world.sweep())] == [{"state": "deleted"}]


async def test_a_vm_without_a_mark_that_vanishes_is_missing(world: SyncWorld) -> None:
    _, server_id = await imported(world)
    world.cloud.vanish(server_id)
    await world.sweep(after=601)
    assert [c.new for c in changes(await world.sweep())] == [{"state": "missing"}]


@pytest.mark.parametrize("marked", [True, False])
async def test_an_import_of_a_server_that_is_a_vm_leaves_that_vm_alone(
    world: SyncWorld, *, marked: bool
) -> None:
    first, server_id = await (world.known() if marked else imported(world))
    await world.sweep()
    second = new_id()
    operation_id = await world.issued(second, IMPORT, server_id)
    assert changes(await world.sweep(after=1)) == []
    await world.hear(second, operation_id, failed(IMPORT, gone=False))
    assert await world.row(second) is None
    world.cloud.change(server_id, name="renamed")
    messages = await world.sweep()
    assert {m.subject for m in messages} == {str(first)}


async def test_a_server_may_be_imported_again_once_its_vm_is_deleted(world: SyncWorld) -> None:
    _, server_id = await imported(world)
    world.cloud.change(server_id, state=VmState.DELETED)
    await world.sweep()
    world.cloud.change(server_id, state=VmState.ACTIVE)
    world.cloud.servers[server_id].mark = None
    again = new_id()
    await world.issued(again, IMPORT, server_id)
    row = await world.row(again)
    assert row is not None
    assert row.server_id == server_id


async def test_a_mark_that_is_put_on_an_imported_server_takes_it_from_nobody(
    world: SyncWorld,
) -> None:
    vm_id, server_id = await imported(world)
    world.cloud.servers[server_id].mark = Mark(new_id(), "p1")
    world.cloud.change(server_id, name="seized")
    messages = await world.sweep()
    assert {m.subject for m in messages} == {str(vm_id)}


async def test_a_mark_of_a_project_that_is_not_the_accounts_makes_no_vm(world: SyncWorld) -> None:
    world.cloud.add("another-hostlers", VmState.ACTIVE, Mark(new_id(), "elsewhere"))
    assert await world.sweep() == []
