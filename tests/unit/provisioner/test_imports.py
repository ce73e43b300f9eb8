"""Servers that somebody else made are taken in without being touched, each as one VM."""

import pytest

from chassis.ids import new_id
from contracts.errors import ErrorCode
from contracts.operation.events import Failed, Issued
from contracts.vm.commands import Delete, Import
from contracts.vm.events import Imported
from contracts.vm.states import VmSnapshot, VmState
from drivers.base import Mark
from tests.fakes.driver import BUSY
from tests.unit.provisioner.world import PROJECT, Bench

STARTED, ISSUED = "operation.started.v1", "operation.issued.v1"
SUCCEEDED, FAILED = "operation.succeeded.v1", "operation.failed.v1"


async def failure(bench: Bench) -> ErrorCode:
    assert (await bench.heard())[-1] == FAILED
    told: Failed = bench.last(Failed)
    return told.error.code


async def test_an_import_only_looks_and_ends_with_the_look_made_for_it(bench: Bench) -> None:
    server_id = bench.cloud.add("theirs")
    before = bench.cloud.servers[server_id].snapshot
    operation_id = await bench.ask(Import(server_id=server_id))
    await bench.work()
    assert await bench.heard() == [STARTED, ISSUED]
    assert bench.last(Issued).server_id == server_id
    await bench.see(before, operation_id)
    assert await bench.heard() == [SUCCEEDED, "vm.imported.v1"]
    assert bench.last(Imported).server_id == server_id
    assert bench.cloud.calls == ["look"]
    assert bench.cloud.servers[server_id].snapshot == before


async def test_an_import_of_a_server_that_is_not_there_fails(bench: Bench) -> None:
    await bench.ask(Import(server_id="nothing"))
    await bench.work()
    assert await failure(bench) is ErrorCode.NO_SERVER


async def test_an_import_of_a_marked_server_fails_and_names_its_vm(bench: Bench) -> None:
    owner = new_id()
    server_id = bench.cloud.add("ours", VmState.ACTIVE, Mark(owner, "other"))
    await bench.ask(Import(server_id=server_id))
    await bench.work()
    assert await failure(bench) is ErrorCode.CONFLICT
    told: Failed = bench.last(Failed)
    assert str(owner) in told.error.detail
    assert told.server_id is None, "it is not this VM's"


async def test_an_import_of_another_vms_server_fails_without_a_look(bench: Bench) -> None:
    server_id = await bench.have_server()
    bench.vm_id = new_id()
    await bench.ask(Import(server_id=server_id))
    await bench.work()
    assert await bench.heard() == [FAILED]
    told: Failed = bench.last(Failed)
    assert told.error.code is ErrorCode.CONFLICT
    assert bench.cloud.calls == []


@pytest.mark.parametrize("together", [True, False])
async def test_of_two_imports_of_one_server_the_first_wins(bench: Bench, together: bool) -> None:
    server_id = bench.cloud.add("theirs")
    first = await bench.ask(Import(server_id=server_id), vm_id=new_id())
    if not together:
        await bench.work()
    second = await bench.ask(Import(server_id=server_id), vm_id=new_id())
    await bench.work()
    assert await bench.state(first) == "waiting"
    assert await bench.state(second) == "failed"


async def test_the_same_id_on_another_account_is_another_server(bench: Bench) -> None:
    server_id = bench.cloud.add("theirs")
    await bench.ask(Import(server_id=server_id), vm_id=new_id())
    other = await bench.ask(Import(server_id=server_id), vm_id=new_id(), account="other")
    await bench.work()
    assert await bench.state(other) == "waiting"


async def test_an_import_whose_server_goes_before_sync_has_looked_fails(bench: Bench) -> None:
    server_id = bench.cloud.add("theirs")
    operation_id = await bench.ask(Import(server_id=server_id))
    await bench.work()
    await bench.see(VmSnapshot(server_id=server_id, state=VmState.MISSING), operation_id)
    assert await failure(bench) is ErrorCode.NO_SERVER


async def test_an_import_that_is_cancelled_in_the_queue_ends_at_once(bench: Bench) -> None:
    bench.cloud.order("look", BUSY)
    server_id = bench.cloud.add("theirs")
    operation_id = await bench.ask(Import(server_id=server_id))
    await bench.work()
    await bench.cancel(operation_id)
    assert (await bench.heard())[-1] == "operation.cancelled.v1"


@pytest.mark.parametrize("called", [True, False])
async def test_a_worker_killed_in_an_import_is_replaced(bench: Bench, called: bool) -> None:
    server_id = bench.cloud.add("theirs")
    operation_id = await bench.ask(Import(server_id=server_id))
    (claimed,) = await bench.service.worker.claim()
    if called:
        await bench.service.worker.attempt(claimed)
    await bench.kill()
    await bench.later(31)
    await bench.see(bench.cloud.servers[server_id].snapshot, operation_id)
    assert await bench.state(operation_id) == "succeeded"
    assert set(bench.cloud.calls) == {"look"}


async def test_a_delete_after_a_refused_import_leaves_the_others_server_alone(
    bench: Bench,
) -> None:
    server_id = bench.cloud.add("ours", VmState.ACTIVE, Mark(new_id(), PROJECT))
    await bench.ask(Import(server_id=server_id))
    await bench.work()
    await bench.ask(Delete())
    await bench.work()
    assert len(bench.cloud.alive()) == 1
    assert bench.cloud.called("delete") == 0
