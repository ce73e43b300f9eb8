"""Nothing leaks: a delete is not done, nor a create undone, before all that was made is gone."""

import pytest
from sqlalchemy import select

from contracts.errors import ErrorCode
from contracts.operation.events import Failed
from contracts.vm.commands import Delete, Import
from contracts.vm.states import VmSnapshot, VmState
from drivers.base import Mark, Resource
from services.provisioner.tables import Made
from tests.fakes.driver import BUSY, LOST, QUOTA, REFUSED, FakeDriver, ReadOnlyDriver
from tests.unit.provisioner.world import CREATE, PROJECT, Bench

SUCCEEDED, FAILED = "operation.succeeded.v1", "operation.failed.v1"


def port(bench: Bench, server_id: str, name: str = "port-1") -> Resource:
    """What a cloud makes for a server and forgets to remove with it."""
    made = Resource("port", name, "", None, server_id)
    bench.cloud.resources[name] = made
    return made


async def entries(bench: Bench) -> list[tuple[str, str | None, bool, bool]]:
    """The ledger: kind, id, whether it was made, whether it is gone."""
    async with bench.service.database.reading() as session:
        rows = (await session.execute(select(Made).order_by(Made.intended_at, Made.id))).scalars()
        return [(r.kind, r.resource_id, r.made_at is not None, r.gone_at is not None) for r in rows]


async def deleted(bench: Bench) -> None:
    """A delete whose server sync has seen go."""
    await bench.ask(Delete())
    await bench.work()
    bench.cloud.settle()
    await bench.see()
    await bench.heard()


async def test_a_server_is_in_the_ledger_before_its_request_is_sent(bench: Bench) -> None:
    await bench.ask(CREATE)
    await bench.service.worker.claim()
    assert await entries(bench) == [("server", None, False, False)]
    await bench.kill()
    await bench.later(31)
    server_id = bench.cloud.alive()[0].snapshot.server_id
    assert await entries(bench) == [("server", server_id, True, False)]


async def test_a_create_that_was_refused_leaves_nothing_open_in_the_ledger(bench: Bench) -> None:
    bench.cloud.order("create", REFUSED)
    await bench.ask(CREATE)
    await bench.work()
    assert await entries(bench) == [("server", None, False, True)]


async def test_a_delete_is_not_done_before_what_belonged_to_its_server_is_gone(
    bench: Bench,
) -> None:
    _, server_id = await bench.create()
    bench.cloud.settle()
    await bench.see()
    port(bench, server_id)
    bench.cloud.order("remove", BUSY)
    await deleted(bench)
    await bench.work()
    assert await bench.heard() == []
    assert ("port", "port-1", True, False) in await entries(bench)
    await bench.later(30)
    await bench.later(30)
    assert await bench.heard() == [SUCCEEDED, "vm.deleted.v1"]
    assert bench.cloud.resources == {}
    assert all(gone for _, _, _, gone in await entries(bench))


async def second(bench: Bench) -> str:
    """Another server that carries the VM's mark, as an unanswered create leaves it; its id."""
    return bench.cloud.add("web-1", VmState.ACTIVE, Mark(bench.vm_id, PROJECT))


async def seen_gone(bench: Bench, server_id: str) -> None:
    """Sync sees that the VM's own server is deleted; the others are not its to tell."""
    bench.cloud.change(server_id, state=VmState.DELETED, task=None)
    bench.cloud.servers[server_id].to = None
    await bench.see_change(VmSnapshot(server_id=server_id, state=VmState.DELETED))
    await bench.heard()


@pytest.mark.parametrize("driver", [FakeDriver, ReadOnlyDriver])
async def test_a_delete_is_not_done_before_every_server_of_the_vm_is_gone(
    bench: Bench, driver: type[ReadOnlyDriver]
) -> None:
    bench.driver = driver
    _, server_id = await bench.create()
    bench.cloud.settle()
    await bench.see()
    other = await second(bench)
    await bench.ask(Delete())
    await bench.work()
    await seen_gone(bench, server_id)
    await bench.work()
    assert await bench.heard() == []
    assert bench.cloud.servers[other].to is VmState.DELETED
    assert ("server", other, True, False) in await entries(bench)
    bench.cloud.settle()
    await bench.later(30)
    assert await bench.heard() == [SUCCEEDED, "vm.deleted.v1"]
    assert bench.cloud.alive() == []
    assert all(gone for _, _, _, gone in await entries(bench))


async def test_a_second_server_that_stays_until_the_deadline_is_named_and_keeps_nothing_else(
    bench: Bench,
) -> None:
    _, server_id = await bench.create()
    bench.cloud.settle()
    await bench.see()
    other = await second(bench)
    port(bench, server_id)
    await bench.ask(Delete())
    await bench.work()
    await seen_gone(bench, server_id)
    bench.cloud.order("delete", REFUSED, times=999)
    for _ in range(31):
        await bench.later(30)
    assert await bench.heard() == [FAILED]
    told: Failed = bench.last(Failed)
    assert f"server {other}" in told.error.detail
    assert bench.cloud.resources == {}
    assert ("server", other, True, False) in await entries(bench)


async def test_a_delete_asks_for_other_servers_of_the_vm_once(bench: Bench) -> None:
    await bench.create()
    bench.cloud.settle()
    await bench.see()
    bench.cloud.calls.clear()
    await deleted(bench)
    await bench.work()
    assert await bench.heard() == [SUCCEEDED, "vm.deleted.v1"]
    assert bench.cloud.calls == ["delete", "find", "belongings"]


async def test_a_delete_ends_at_once_where_the_driver_knows_of_no_belongings(
    bench: Bench,
) -> None:
    bench.driver = ReadOnlyDriver
    await bench.have_server()
    await deleted(bench)
    await bench.work()
    assert await bench.heard() == [SUCCEEDED, "vm.deleted.v1"]


@pytest.mark.parametrize("error", [REFUSED, QUOTA], ids=["refused", "retry"])
async def test_what_cannot_be_removed_until_the_deadline_is_named(
    bench: Bench, error: Exception
) -> None:
    server_id = await bench.have_server()
    port(bench, server_id)
    port(bench, server_id, "port-2")
    bench.cloud.order("remove", error, times=999)
    await deleted(bench)
    for _ in range(31):
        await bench.later(30)
    assert await bench.heard() == [FAILED]
    told: Failed = bench.last(Failed)
    assert "port port-1" in told.error.detail
    assert "port port-2" in told.error.detail
    assert str(error).partition(": ")[2] in told.error.detail


async def test_one_that_cannot_be_removed_keeps_no_other(bench: Bench) -> None:
    server_id = await bench.have_server()
    port(bench, server_id)
    port(bench, server_id, "port-2")
    bench.cloud.order("remove", BUSY)
    await deleted(bench)
    await bench.work()
    assert list(bench.cloud.resources) == ["port-1"]


async def test_a_cloud_that_does_not_answer_delays_a_delete_and_does_not_end_it(
    bench: Bench,
) -> None:
    server_id = await bench.have_server()
    port(bench, server_id)
    bench.cloud.order("belongings", LOST, times=3)
    await deleted(bench)
    for _ in range(5):
        await bench.later(30)
    assert await bench.heard() == [SUCCEEDED, "vm.deleted.v1"]
    assert bench.cloud.resources == {}


async def test_an_imported_vms_delete_removes_what_the_cloud_made_and_nothing_else(
    bench: Bench,
) -> None:
    server_id = bench.cloud.add("theirs")
    operation_id = await bench.ask(Import(server_id=server_id))
    await bench.work()
    await bench.see(bench.cloud.servers[server_id].snapshot, operation_id)
    port(bench, server_id)
    theirs = Resource("volume", "volume-1", "data", None, None)
    bench.cloud.resources["volume-1"] = theirs
    await bench.ask(Delete())
    await bench.work()
    bench.cloud.settle()
    await bench.see(bench.cloud.servers[server_id].snapshot)
    await bench.work()
    await bench.later(3)
    assert (await bench.heard())[-1] == "vm.deleted.v1"
    assert list(bench.cloud.resources) == ["volume-1"]
    assert [kind for kind, *_ in await entries(bench)] == ["port"]


async def test_a_create_is_not_undone_before_what_belonged_to_its_server_is_gone(
    bench: Bench,
) -> None:
    operation_id, server_id = await bench.create()
    port(bench, server_id)
    mine = Resource("volume", "volume-1", "", Mark(bench.vm_id, PROJECT), None)
    bench.cloud.resources["volume-1"] = mine
    bench.cloud.order("remove", BUSY)
    await bench.cancel(operation_id)
    await bench.work()
    bench.cloud.settle()
    await bench.later(3)
    assert await bench.state(operation_id) == "queued"
    for _ in range(3):
        await bench.later(30)
    assert await bench.state(operation_id) == "cancelled"
    assert bench.cloud.resources == {}
    assert all(gone for _, _, _, gone in await entries(bench))


@pytest.mark.parametrize("called", [True, False])
async def test_a_worker_killed_while_it_removes_what_is_left_is_replaced(
    bench: Bench, called: bool
) -> None:
    server_id = await bench.have_server()
    port(bench, server_id)
    await deleted(bench)
    (claimed,) = await bench.service.worker.claim()
    if called:
        await bench.service.worker.attempt(claimed)
    await bench.kill()
    await bench.later(31)
    await bench.later(31)
    assert await bench.heard() == [SUCCEEDED, "vm.deleted.v1"]
    assert bench.cloud.resources == {}


async def test_each_round_of_a_create_is_an_entry_of_its_own(bench: Bench) -> None:
    await bench.ask(CREATE.model_copy(update={"on_failure": "retry"}))
    await bench.work()
    first = bench.cloud.alive()[0].snapshot.server_id or ""
    bench.cloud.fail(first, "No valid host was found.")
    await bench.see()
    await bench.work()
    bench.cloud.change(first, state=VmState.DELETED)
    await bench.see_change(VmSnapshot(server_id=first, state=VmState.DELETED))
    await bench.later(30)
    second = bench.cloud.alive()[0].snapshot.server_id
    found = [(kind, id_, gone) for kind, id_, _, gone in await entries(bench)]
    assert found == [("server", first, True), ("server", second, False)]


async def test_what_cannot_be_removed_may_be_tried_again_by_an_operator(bench: Bench) -> None:
    server_id = await bench.have_server()
    port(bench, server_id)
    bench.cloud.order("remove", REFUSED, times=1)
    await deleted(bench)
    await bench.work()
    delete = (await bench.rows())[-1]
    await bench.retry(delete.id)
    await bench.work()
    await bench.later(3)
    assert (await bench.row(delete.id)).state == "succeeded"
    told = await bench.heard()
    assert told[0] == "operation.retrying.v1"
    assert ErrorCode.CLOUD_REFUSED in {m.data.error.code for m in bench.log if m.type == told[0]}  # type: ignore[attr-defined]
