"""Every command's way to its outcome when nothing goes wrong."""

import pytest

from contracts.message import Command
from contracts.vm.commands import Delete, Pause, Reboot, Start, Stop, Sync, Unpause, Update
from contracts.vm.events import Happened
from contracts.vm.states import VmState
from tests.fakes.driver import ReadOnlyDriver
from tests.unit.provisioner.world import Bench

STARTED, ISSUED = "operation.started.v1", "operation.issued.v1"
SUCCEEDED, FAILED = "operation.succeeded.v1", "operation.failed.v1"


async def test_a_create_costs_one_cloud_call_and_succeeds_once_the_server_is_active(
    bench: Bench,
) -> None:
    operation_id, server_id = await bench.create()
    assert await bench.heard() == [STARTED, ISSUED]
    assert bench.cloud.calls == ["create"]
    assert bench.cloud.requests == ["req-1"]
    await bench.see()
    assert await bench.heard() == []
    bench.cloud.settle()
    await bench.see()
    assert await bench.heard() == [SUCCEEDED, "vm.created.v1"]
    assert bench.last(Happened).server_id == server_id
    assert await bench.state(operation_id) == "succeeded"
    assert bench.cloud.calls == ["create"]


async def test_user_data_is_forgotten_once_the_operation_has_ended(bench: Bench) -> None:
    operation_id, _ = await bench.create()
    assert "user_data" in (await bench.row(operation_id)).data
    bench.cloud.settle()
    await bench.see()
    assert "user_data" not in (await bench.row(operation_id)).data


@pytest.mark.parametrize(
    ("command", "state", "call", "emits"),
    [
        (Stop(), VmState.ACTIVE, "stop", "vm.stopped.v1"),
        (Start(), VmState.STOPPED, "start", "vm.started.v1"),
        (Reboot(hard=True), VmState.ACTIVE, "reboot", "vm.rebooted.v1"),
        (Pause(), VmState.ACTIVE, "pause", "vm.paused.v1"),
        (Unpause(), VmState.PAUSED, "unpause", "vm.unpaused.v1"),
        (Update(name="web-2", tags=["b", "a"]), VmState.ACTIVE, "update", "vm.updated.v1"),
        (Delete(), VmState.ACTIVE, "delete", "vm.deleted.v1"),
    ],
)
async def test_an_action_is_asked_once_and_succeeds_by_what_sync_sees(
    bench: Bench, command: Command, state: VmState, call: str, emits: str
) -> None:
    await bench.have_server(state)
    await bench.ask(command)
    await bench.work()
    assert await bench.heard() == [STARTED, ISSUED]
    bench.cloud.settle()
    await bench.see()
    await bench.work()
    assert await bench.heard() == [SUCCEEDED, emits]
    assert bench.cloud.calls[0] == call
    assert bench.cloud.called(call) == 1


async def test_a_sync_asks_nothing_of_the_cloud_and_ends_with_the_look_made_for_it(
    bench: Bench,
) -> None:
    await bench.have_server()
    operation_id = await bench.ask(Sync())
    await bench.work()
    assert await bench.heard() == [STARTED, ISSUED]
    await bench.see(operation_id=operation_id)
    assert await bench.heard() == [SUCCEEDED]
    assert bench.cloud.calls == []


async def test_commands_of_a_vm_are_carried_out_one_after_the_other_in_their_order(
    bench: Bench,
) -> None:
    await bench.have_server()
    for command in (Stop(), Start(), Reboot()):
        await bench.ask(command)
    for call in ("stop", "start", "reboot"):
        assert await bench.work() == 1
        assert bench.cloud.calls[-1] == call
        bench.cloud.settle()
        await bench.see()
    assert (await bench.heard()).count(SUCCEEDED) == 3


async def test_a_delete_of_a_vm_that_never_had_a_server_is_issued_for_sync_to_look(
    bench: Bench,
) -> None:
    await bench.ask(Delete())
    await bench.work()
    assert await bench.heard() == [STARTED, ISSUED]
    assert bench.cloud.calls == ["find"]
    await bench.see()
    await bench.work()
    assert await bench.heard() == [SUCCEEDED, "vm.deleted.v1"]


async def test_an_action_on_a_vm_without_a_server_fails(bench: Bench) -> None:
    await bench.ask(Stop())
    await bench.work()
    assert await bench.heard() == [STARTED, FAILED]
    assert bench.log[-1].data.error.code == "no_server"  # type: ignore[attr-defined]


async def test_an_action_that_the_driver_cannot_do_fails_as_unsupported(bench: Bench) -> None:
    await bench.have_server()
    bench.driver = ReadOnlyDriver
    await bench.ask(Reboot())
    await bench.work()
    assert await bench.heard() == [STARTED, FAILED]


async def test_a_delete_of_a_vm_that_is_known_to_be_deleted_needs_no_second_look(
    bench: Bench,
) -> None:
    server_id = await bench.have_server()
    bench.cloud.change(server_id, state=VmState.DELETED)
    await bench.see()
    await bench.ask(Delete())
    await bench.work()
    assert await bench.heard() == [STARTED, ISSUED, SUCCEEDED, "vm.deleted.v1"]


async def test_a_failed_reboots_vm_takes_the_next_command(bench: Bench) -> None:
    server_id = await bench.have_server()
    await bench.ask(Reboot())
    await bench.ask(Delete())
    await bench.work()
    bench.cloud.fail(server_id, "libvirt is gone")
    await bench.see()
    assert FAILED in await bench.heard()
    assert await bench.work() == 1
    assert bench.cloud.calls == ["reboot", "delete"]
