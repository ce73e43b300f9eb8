"""One VM per intent, also where an unanswered create shows long after everybody stopped looking."""

from datetime import timedelta
from typing import Literal

import pytest

from chassis.ids import new_id
from contracts.vm.commands import Delete, Stop
from contracts.vm.states import VmState
from drivers.base import Mark
from tests.fakes.driver import BUSY, LOST, REFUSED, FakeServer
from tests.unit.provisioner.world import CREATE, PROJECT, Bench

LATE = timedelta(seconds=100)


async def made_twice(bench: Bench) -> FakeServer:
    """A VM that was created while the server of an unanswered request does not show yet."""
    bench.cloud.order("create", LOST, after_effect=True, late=LATE)
    operation_id = await bench.ask(CREATE)
    await bench.work()
    await bench.later(5)
    bench.cloud.settle()
    straggler, kept = bench.cloud.alive()
    await bench.see(kept.snapshot)
    assert await bench.state(operation_id) == "succeeded"
    assert (await bench.row(operation_id)).server_id == kept.snapshot.server_id
    assert straggler.snapshot.server_id != kept.snapshot.server_id
    return kept


async def looked_after(bench: Bench) -> None:
    """An hour goes by."""
    for _ in range(60):
        await bench.later(60)
        bench.cloud.settle()


async def test_a_server_that_shows_after_its_create_has_succeeded_is_removed(bench: Bench) -> None:
    kept = await made_twice(bench)
    await looked_after(bench)
    assert bench.cloud.alive() == [kept]


async def test_a_create_is_looked_after_for_a_while_only(bench: Bench) -> None:
    await made_twice(bench)
    await looked_after(bench)
    found = bench.cloud.called("find")
    await looked_after(bench)
    assert bench.cloud.called("find") == found


async def test_a_create_that_was_answered_at_once_costs_no_further_call(bench: Bench) -> None:
    await bench.create()
    bench.cloud.settle()
    await bench.see()
    await looked_after(bench)
    assert bench.cloud.calls == ["create"]


@pytest.mark.parametrize("on_failure", ["keep", "delete"])
async def test_a_create_that_was_refused_costs_no_further_call(
    bench: Bench, on_failure: Literal["keep", "delete"]
) -> None:
    bench.cloud.order("create", REFUSED)
    operation_id = await bench.ask(CREATE.model_copy(update={"on_failure": on_failure}))
    await bench.work()
    await looked_after(bench)
    assert (await bench.state(operation_id), bench.cloud.calls) == ("failed", ["create"])


async def test_of_a_cancelled_create_nothing_stays_however_late_it_shows(bench: Bench) -> None:
    bench.cloud.order("create", LOST, after_effect=True, late=LATE)
    operation_id = await bench.ask(CREATE)
    await bench.work()
    await bench.cancel(operation_id)
    await bench.later(5)
    assert await bench.state(operation_id) == "cancelled"
    await looked_after(bench)
    assert bench.cloud.alive() == []


async def test_nothing_is_removed_while_the_vms_own_server_does_not_show(bench: Bench) -> None:
    kept = await made_twice(bench)
    bench.cloud.vanish(kept.snapshot.server_id or "")
    await looked_after(bench)
    assert len(bench.cloud.alive()) == 1


async def test_a_server_that_shows_after_its_vm_was_deleted_is_removed(bench: Bench) -> None:
    kept = await made_twice(bench)
    straggler = bench.cloud.alive()[0]
    delete = await bench.ask(Delete())
    await bench.work()
    server_id = kept.snapshot.server_id or ""
    bench.cloud.change(server_id, state=VmState.DELETED, task=None)
    kept.to = None
    await bench.see_change(kept.snapshot)
    await bench.work()
    assert await bench.state(delete) == "succeeded"
    assert bench.cloud.alive() == [straggler], "it does not show yet"
    await looked_after(bench)
    assert bench.cloud.alive() == []


async def test_the_server_of_another_vm_is_left_alone(bench: Bench) -> None:
    kept = await made_twice(bench)
    other = bench.cloud.add("other", VmState.ACTIVE, Mark(new_id(), PROJECT))
    await looked_after(bench)
    assert {s.snapshot.server_id for s in bench.cloud.alive()} == {kept.snapshot.server_id, other}


async def test_a_check_that_fails_is_followed_by_others_and_the_create_stays_a_success(
    bench: Bench,
) -> None:
    kept = await made_twice(bench)
    bench.cloud.order("find", BUSY)
    bench.cloud.order("delete", LOST)
    await looked_after(bench)
    assert bench.cloud.alive() == [kept]
    assert "operation.failed.v1" not in await bench.heard()


async def test_what_is_asked_of_the_vm_does_not_wait_for_the_checks(bench: Bench) -> None:
    await made_twice(bench)
    stop = await bench.ask(Stop())
    await bench.work()
    assert await bench.state(stop) == "waiting"


@pytest.mark.parametrize("killed", [1, 2])
async def test_a_worker_killed_in_a_check_is_replaced(bench: Bench, killed: int) -> None:
    kept = await made_twice(bench)
    for _ in range(killed):
        bench.clock.advance(seconds=601)
        await bench.service.worker.claim()
        await bench.kill()
    await looked_after(bench)
    assert bench.cloud.alive() == [kept]
