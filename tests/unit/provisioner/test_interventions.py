"""What operators do to operations that have not ended: another attempt, or an end without one."""

from dataclasses import replace

import pytest

from contracts.errors import ErrorCode
from contracts.operation.events import Failed, Issued, Retrying
from contracts.vm.commands import Delete, Pause, Reboot, Start, Stop, Unpause
from contracts.vm.states import VmState
from tests.fakes.driver import BUSY, LOST, QUOTA
from tests.unit.provisioner.world import CREATE, Bench

STARTED, ISSUED = "operation.started.v1", "operation.issued.v1"
RETRYING, FAILED = "operation.retrying.v1", "operation.failed.v1"
SUCCEEDED, CANCELLED = "operation.succeeded.v1", "operation.cancelled.v1"


async def test_a_retry_makes_a_waiting_attempt_due_now_and_moves_the_deadline(
    bench: Bench,
) -> None:
    bench.cloud.order("create", QUOTA)
    operation_id = await bench.ask(CREATE)
    await bench.work()
    await bench.heard()
    bench.clock.advance(seconds=0.5)
    await bench.retry(operation_id)
    assert await bench.heard() == [RETRYING], "it came twice and is done once"
    told: Retrying = bench.last(Retrying)
    assert told.deadline_at == bench.clock() + CREATE.deadline
    assert (told.attempt, told.due_at) == (1, bench.clock())
    assert told.error.code is ErrorCode.QUOTA
    assert await bench.work() == 1
    assert await bench.state(operation_id) == "waiting"


async def test_a_retry_does_not_ask_before_an_unanswered_request_had_time_to_show(
    bench: Bench,
) -> None:
    bench.cloud.order("create", LOST, after_effect=True)
    operation_id = await bench.ask(CREATE)
    await bench.work()
    await bench.retry(operation_id)
    assert await bench.work() == 0
    await bench.later(3)
    assert bench.cloud.calls == ["create", "find"]


async def test_a_retry_of_what_stands_behind_another_moves_its_deadline_only(
    bench: Bench,
) -> None:
    await bench.create()
    stop = await bench.ask(Stop())
    bench.clock.advance(seconds=200)
    await bench.retry(stop)
    row = await bench.row(stop)
    assert (row.due_at, row.deadline_at) == (None, bench.clock() + Stop.deadline)
    assert await bench.work() == 0


async def test_a_retry_while_a_worker_is_at_it_moves_the_deadline_only(bench: Bench) -> None:
    operation_id = await bench.ask(CREATE)
    (claimed,) = await bench.service.worker.claim()
    bench.clock.advance(seconds=9)
    await bench.retry(operation_id)
    assert await bench.another().worker.claim() == []
    await bench.service.worker.work(claimed)
    row = await bench.row(operation_id)
    assert (row.state, row.deadline_at) == ("waiting", bench.clock() + CREATE.deadline)
    assert bench.cloud.calls == ["create"]


async def test_a_retried_action_looks_before_it_asks_again(bench: Bench) -> None:
    server_id = await bench.have_server()
    operation_id = await bench.ask(Stop())
    await bench.work()
    bench.cloud.settle()
    await bench.retry(operation_id)
    await bench.work()
    assert bench.cloud.called("stop") == 1
    assert bench.cloud.servers[server_id].state is VmState.STOPPED
    await bench.see()
    assert await bench.state(operation_id) == "succeeded"


async def test_a_retried_action_that_the_cloud_forgot_is_asked_again(bench: Bench) -> None:
    server_id = await bench.have_server()
    bench.cloud.records_kept = False
    operation_id = await bench.ask(Stop())
    await bench.work()
    bench.cloud.change(server_id, task=None)
    await bench.retry(operation_id)
    await bench.work()
    assert bench.cloud.called("stop") == 2
    bench.cloud.settle()
    await bench.see()
    assert await bench.state(operation_id) == "succeeded"


@pytest.mark.parametrize(
    ("command", "state"),
    [
        (Stop(), VmState.ACTIVE),
        (Start(), VmState.STOPPED),
        (Pause(), VmState.ACTIVE),
        (Unpause(), VmState.PAUSED),
        (Delete(), VmState.ACTIVE),
    ],
)
async def test_a_retried_action_that_the_cloud_took_and_dropped_is_asked_again(
    bench: Bench, command: Stop, state: VmState
) -> None:
    """The cloud's record of it stays as it was for ever: no reason to wait on."""
    server_id = await bench.have_server(state)
    operation_id = await bench.ask(command)
    await bench.work()
    bench.cloud.change(server_id, task=None)
    await bench.retry(operation_id)
    await bench.work()
    assert bench.cloud.called(command.verb()) == 2
    assert await bench.state(operation_id) == "waiting"
    bench.cloud.settle()
    await bench.see()
    await bench.work()
    assert await bench.state(operation_id) == "succeeded"


async def test_a_retried_action_that_the_cloud_is_at_is_not_asked_again(bench: Bench) -> None:
    await bench.have_server()
    operation_id = await bench.ask(Stop())
    await bench.work()
    await bench.retry(operation_id)
    await bench.work()
    assert (await bench.state(operation_id), bench.cloud.called("stop")) == ("waiting", 1)


@pytest.mark.parametrize(
    ("recorded", "asked"),
    [({"finished": True}, 1), ({"finished": True, "failed": True}, 2), ({}, 2)],
)
async def test_a_retried_reboot_is_asked_again_unless_the_cloud_has_done_it(
    bench: Bench, recorded: dict[str, bool], asked: int
) -> None:
    server_id = await bench.have_server()
    operation_id = await bench.ask(Reboot())
    await bench.work()
    bench.cloud.change(server_id, task=None)
    server = bench.cloud.servers[server_id]
    server.records = [replace(each, **recorded) for each in server.records]
    await bench.retry(operation_id)
    await bench.work()
    assert bench.cloud.called("reboot") == asked


async def test_an_action_that_was_asked_again_is_not_asked_a_third_time_by_whoever_takes_over(
    bench: Bench,
) -> None:
    server_id = await bench.have_server()
    operation_id = await bench.ask(Stop())
    await bench.work()
    bench.cloud.change(server_id, task=None)
    await bench.retry(operation_id)
    (claimed,) = await bench.service.worker.claim()
    await bench.service.worker.attempt(claimed)
    await bench.kill()
    await bench.later(31)
    assert (await bench.state(operation_id), bench.cloud.called("stop")) == ("waiting", 2)


async def test_a_retry_while_the_cloud_is_asked_about_the_action_is_not_lost(
    bench: Bench,
) -> None:
    operation_id, asked = await bench.doubt(Stop())
    answer = await bench.service.worker.attempt(asked)
    await bench.retry(operation_id)
    assert not await bench.service.worker.record(asked, answer)
    await bench.work()
    assert bench.cloud.called("stop") == 2


async def test_a_retry_of_a_hanging_build_makes_it_anew_whatever_its_policy(
    bench: Bench,
) -> None:
    operation_id, first = await bench.create()
    await bench.see()
    await bench.retry(operation_id)
    await bench.work()
    bench.cloud.settle()
    await bench.later(30)
    undone = ["find", "delete", "find", "belongings"]
    assert bench.cloud.calls == ["create", "look", *undone, "create"]
    bench.cloud.settle()
    await bench.see()
    row = await bench.row(operation_id)
    assert (row.state, row.rebuilds) == ("succeeded", 1)
    assert row.server_id != first


async def test_a_retry_of_a_build_that_is_done_already_leaves_its_server_alone(
    bench: Bench,
) -> None:
    operation_id, server_id = await bench.create()
    bench.cloud.settle()
    await bench.heard()
    await bench.retry(operation_id)
    await bench.work()
    assert await bench.heard() == [RETRYING, ISSUED]
    assert bench.last(Issued).server_id == server_id
    assert bench.cloud.calls == ["create", "look"]
    await bench.see()
    assert await bench.state(operation_id) == "succeeded"


async def test_a_retry_while_the_watchdog_looks_is_not_lost(bench: Bench) -> None:
    operation_id, _ = await bench.create()
    bench.clock.advance(seconds=600)
    bench.cloud.order("look", BUSY)
    (claimed,) = await bench.service.worker.claim()
    await bench.retry(operation_id)
    await bench.service.worker.work(claimed)
    await bench.work()
    assert (await bench.row(operation_id)).compensating


async def test_a_retry_of_what_is_being_undone_undoes_it_now(bench: Bench) -> None:
    operation_id, _ = await bench.create()
    await bench.cancel(operation_id)
    bench.cloud.order("find", BUSY)
    await bench.work()
    await bench.retry(operation_id)
    assert await bench.work() == 1
    bench.cloud.settle()
    await bench.later(30)
    assert await bench.state(operation_id) == "cancelled"


@pytest.mark.parametrize("ended_by", ["success", "cancel"])
async def test_what_is_asked_of_an_operation_that_has_ended_changes_nothing(
    bench: Bench, ended_by: str
) -> None:
    if ended_by == "success":
        operation_id, _ = await bench.create()
        bench.cloud.settle()
        await bench.see()
    else:
        operation_id = await bench.ask(CREATE)
        await bench.cancel(operation_id)
    await bench.heard()
    before = await bench.row(operation_id)
    await bench.retry(operation_id)
    await bench.abandon(operation_id, "too late")
    after = await bench.row(operation_id)
    assert await bench.heard() == []
    assert (before.state, before.deadline_at) == (after.state, after.deadline_at)
    assert await bench.work() == 0


async def test_another_vms_operation_is_not_to_be_had_by_its_id(bench: Bench) -> None:
    operation_id = await bench.ask(CREATE)
    vm_id, bench.vm_id = bench.vm_id, operation_id
    await bench.abandon(operation_id)
    await bench.retry(operation_id)
    bench.vm_id = vm_id
    assert await bench.heard() == []
    assert await bench.state(operation_id) == "queued"


async def test_an_abandoned_operation_fails_now_with_the_operators_reason(bench: Bench) -> None:
    await bench.have_server()
    operation_id = await bench.ask(Stop())
    await bench.work()
    await bench.heard()
    calls = list(bench.cloud.calls)
    await bench.abandon(operation_id, "the host is dead")
    await bench.work()
    assert await bench.heard() == [FAILED]
    told: Failed = bench.last(Failed)
    assert told.error.code is ErrorCode.ABANDONED
    assert "the host is dead" in told.error.detail
    assert bench.cloud.calls == calls


async def test_what_stood_behind_an_abandoned_operation_goes_on(bench: Bench) -> None:
    await bench.have_server()
    stop = await bench.ask(Stop())
    delete = await bench.ask(Delete())
    await bench.work()
    await bench.abandon(stop)
    await bench.work()
    assert await bench.state(delete) == "waiting"


async def test_what_an_abandoned_create_made_stays_however_late_it_shows(bench: Bench) -> None:
    bench.cloud.order("create", LOST, after_effect=True)
    operation_id = await bench.ask(CREATE)
    await bench.work()
    await bench.abandon(operation_id)
    for _ in range(30):
        await bench.later(60)
    assert len(bench.cloud.alive()) == 1
    assert bench.cloud.calls == ["create"]
    assert await bench.state(operation_id) == "failed"


async def test_a_worker_in_the_middle_of_what_is_abandoned_finds_its_lease_gone(
    bench: Bench,
) -> None:
    operation_id = await bench.ask(CREATE)
    (claimed,) = await bench.service.worker.claim()
    result = await bench.service.worker.attempt(claimed)
    await bench.abandon(operation_id)
    await bench.heard()
    assert not await bench.service.worker.record(claimed, result)
    assert await bench.heard() == []
    assert await bench.state(operation_id) == "failed"
    assert len(bench.cloud.alive()) == 1


@pytest.mark.parametrize("killed", [True, False])
async def test_what_is_undone_and_abandoned_is_left_as_it_is(bench: Bench, killed: bool) -> None:
    operation_id, _ = await bench.create()
    await bench.cancel(operation_id)
    bench.cloud.order("find", BUSY)
    await bench.work()
    if killed:
        await bench.kill()
    await bench.abandon(operation_id)
    for _ in range(30):
        await bench.later(60)
    assert await bench.state(operation_id) == "failed"
    assert len(bench.cloud.alive()) == 1


@pytest.mark.parametrize("step", range(4))
async def test_a_retry_at_any_step_of_a_create_makes_one_server(bench: Bench, step: int) -> None:
    """Asked before the claim, after it, after the cloud's answer, after its record; then a kill."""
    operation_id = await bench.ask(CREATE)
    worker = bench.service.worker
    claims = await worker.claim() if step > 0 else []
    results = [await worker.attempt(each) for each in claims] if step > 1 else []
    for claimed, result in zip(claims, results if step > 2 else [], strict=False):
        await worker.record(claimed, result)
    await bench.retry(operation_id)
    await bench.kill()
    for _ in range(4):
        await bench.later(31)
        for server_id, server in bench.cloud.servers.items():
            if server.to is VmState.DELETED:
                bench.cloud.change(server_id, state=VmState.DELETED, task=None)
    assert len(bench.cloud.alive()) == 1
    bench.cloud.settle()
    await bench.see()
    assert await bench.state(operation_id) == "succeeded"
