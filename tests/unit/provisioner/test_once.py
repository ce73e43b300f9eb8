"""One VM per intent: repeats, crashes and lost answers at every step."""

from datetime import timedelta

import pytest

from contracts.errors import ErrorCode
from contracts.message import Command
from contracts.vm.commands import Delete, Reboot, Start, Stop, Update
from contracts.vm.states import VmState
from services.provisioner.claims import Claim
from tests.fakes.driver import BUSY, LOST, FakeServer
from tests.unit.provisioner.world import CREATE, Bench


async def finish(bench: Bench) -> list[FakeServer]:
    """Go on until the operation has ended; the servers that there are."""
    await bench.later(60)
    await bench.later(60)
    bench.cloud.settle()
    await bench.see()
    return bench.cloud.alive()


async def claim(bench: Bench) -> Claim:
    (claimed,) = await bench.service.worker.claim()
    return claimed


async def test_a_command_that_comes_twice_is_carried_out_once(bench: Bench) -> None:
    bench.times = 3
    await bench.create()
    assert bench.cloud.calls == ["create"]


async def test_a_worker_killed_after_its_claim_is_replaced_and_makes_one_server(
    bench: Bench,
) -> None:
    operation_id = await bench.ask(CREATE)
    await claim(bench)
    await bench.kill()
    assert await bench.work() == 0, "the lease still holds"
    assert len(await finish(bench)) == 1
    assert await bench.state(operation_id) == "succeeded"
    assert bench.cloud.calls == ["find", "create", "find"]


async def test_a_worker_killed_after_the_clouds_answer_is_replaced_by_one_that_adopts(
    bench: Bench,
) -> None:
    operation_id = await bench.ask(CREATE)
    await bench.service.worker.attempt(await claim(bench))
    await bench.kill()
    (server,) = await finish(bench)
    row = await bench.row(operation_id)
    assert (row.state, row.server_id) == ("succeeded", server.snapshot.server_id)
    assert bench.cloud.calls == ["create", "find"]


async def test_a_worker_killed_after_its_commit_leaves_nothing_to_repeat(bench: Bench) -> None:
    operation_id, _ = await bench.create()
    await bench.kill()
    assert len(await finish(bench)) == 1
    assert await bench.state(operation_id) == "succeeded"
    assert bench.cloud.calls == ["create"]


async def test_a_create_whose_answer_is_lost_after_its_effect_is_adopted(bench: Bench) -> None:
    bench.cloud.order("create", LOST, after_effect=True)
    operation_id = await bench.ask(CREATE)
    await bench.work()
    assert (await bench.row(operation_id)).state == "queued"
    assert len(await finish(bench)) == 1
    assert bench.cloud.calls == ["create", "find"]
    assert await bench.state(operation_id) == "succeeded"


async def test_a_create_that_was_lost_before_its_effect_is_asked_again(bench: Bench) -> None:
    bench.cloud.order("create", LOST)
    await bench.ask(CREATE)
    await bench.work()
    assert len(await finish(bench)) == 1
    assert bench.cloud.calls == ["create", "find", "create", "find"]


async def test_a_create_that_shows_within_the_settle_time_is_seen_before_it_is_asked_again(
    bench: Bench,
) -> None:
    bench.cloud.order("create", LOST, after_effect=True, late=timedelta(seconds=2))
    await bench.ask(CREATE)
    await bench.work()
    assert len(await finish(bench)) == 1
    assert bench.cloud.called("create") == 1


async def test_of_two_servers_for_one_create_the_oldest_is_kept(bench: Bench) -> None:
    bench.cloud.order("create", LOST, after_effect=True, late=timedelta(seconds=100))
    operation_id = await bench.ask(CREATE)
    await bench.work()
    bench.cloud.order("create", LOST, after_effect=True)
    await bench.later(60)
    await bench.later(60)
    bench.cloud.settle()
    await bench.see(bench.cloud.alive()[0].snapshot)
    (kept,) = bench.cloud.alive()
    row = await bench.row(operation_id)
    assert (row.state, row.server_id) == ("succeeded", kept.snapshot.server_id)


async def test_a_surplus_server_that_shows_after_the_second_request_is_deleted_at_once(
    bench: Bench,
) -> None:
    bench.cloud.order("create", LOST, after_effect=True, late=timedelta(seconds=9))
    await bench.ask(CREATE)
    await bench.work()
    bench.cloud.order("create", meanwhile=lambda: bench.clock.advance(seconds=9))
    await bench.later(5)
    bench.cloud.settle()
    assert bench.cloud.calls == ["create", "find", "create", "find", "delete"]
    assert len(bench.cloud.alive()) == 1


@pytest.mark.parametrize(
    ("command", "state", "call"),
    [
        (Stop(), VmState.ACTIVE, "stop"),
        (Start(), VmState.STOPPED, "start"),
        (Reboot(), VmState.ACTIVE, "reboot"),
        (Update(name="web-2"), VmState.ACTIVE, "update"),
        (Delete(), VmState.ACTIVE, "delete"),
    ],
)
@pytest.mark.parametrize("finished", [False, True], ids=["under way", "finished"])
async def test_an_action_whose_answer_is_lost_after_its_effect_is_not_asked_again(
    bench: Bench, command: Command, state: VmState, call: str, finished: bool
) -> None:
    await bench.have_server(state)
    bench.cloud.order(call, LOST, after_effect=True)
    operation_id = await bench.ask(command)
    await bench.work()
    if finished:
        bench.cloud.settle()
    await bench.later(60)
    bench.cloud.settle()
    await bench.see()
    await bench.work()
    assert bench.cloud.called(call) == 1
    assert await bench.state(operation_id) == "succeeded"


async def test_a_reboot_lost_before_its_effect_is_asked_again_in_spite_of_older_reboots(
    bench: Bench,
) -> None:
    await bench.have_server()
    await bench.ask(Reboot())
    await bench.work()
    bench.cloud.settle()
    await bench.see()
    bench.clock.advance(seconds=10)
    bench.cloud.order("reboot", LOST)
    again = await bench.ask(Reboot())
    await bench.work()
    await bench.later(60)
    bench.cloud.settle()
    await bench.see()
    assert bench.cloud.called("reboot") == 3
    assert await bench.state(again) == "succeeded"


async def test_a_failure_that_certainly_did_nothing_costs_no_look(bench: Bench) -> None:
    bench.cloud.order("create", BUSY)
    await bench.ask(CREATE)
    await bench.work()
    await finish(bench)
    assert bench.cloud.calls == ["create", "create"]


async def test_a_certain_failure_does_not_make_one_forget_an_uncertain_one_before(
    bench: Bench,
) -> None:
    bench.cloud.order("create", LOST, after_effect=True)
    bench.cloud.order("find", BUSY)
    await bench.ask(CREATE)
    await bench.work()
    assert len(await finish(bench)) == 1
    assert bench.cloud.calls == ["create", "find", "find"]


async def test_a_worker_that_lost_its_lease_writes_nothing(bench: Bench) -> None:
    operation_id = await bench.ask(CREATE)
    worker, claimed = bench.service.worker, await claim(bench)
    result = await worker.attempt(claimed)
    bench.clock.advance(seconds=31)
    rival = bench.another()
    (taken,) = await rival.worker.claim()
    await bench.heard()
    assert not await worker.record(claimed, result)
    assert await bench.heard() == []
    assert (await bench.row(operation_id)).lease_token == taken.token
    await rival.worker.work(taken)
    assert len(bench.cloud.alive()) == 1
    assert await bench.state(operation_id) == "waiting"


async def test_an_operation_that_ended_meanwhile_is_not_revived_by_a_late_worker(
    bench: Bench,
) -> None:
    operation_id = await bench.ask(CREATE)
    worker, claimed = bench.service.worker, await claim(bench)
    result = await worker.attempt(claimed)
    bench.clock.advance(minutes=16)
    rival = bench.another()
    await rival.worker.step()
    assert not await worker.record(claimed, result)
    assert (await bench.row(operation_id)).error is not None


async def test_a_bug_is_tried_three_times_and_then_told_as_internal(bench: Bench) -> None:
    await bench.have_server()
    bench.cloud.order("stop", RuntimeError("secret detail"), times=9)
    operation_id = await bench.ask(Stop())
    await bench.work()
    for _ in range(5):
        await bench.later(31)
    row = await bench.row(operation_id)
    assert (row.state, bench.cloud.called("stop")) == ("failed", 3)
    assert row.reason is not None
    assert row.reason.code is ErrorCode.INTERNAL
    assert "secret" not in row.reason.detail
