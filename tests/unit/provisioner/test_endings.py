"""Failures, deadlines, cancels and doubts: every operation ends, and nothing is left over."""

from datetime import timedelta
from typing import Any

import pytest

from chassis.errors import Retry
from contracts.errors import ErrorCode
from contracts.operation.events import Failed, Retrying
from contracts.operation.states import OperationState
from contracts.vm.commands import Delete, Reboot, Stop
from contracts.vm.states import VmSnapshot, VmState
from tests.fakes.driver import BUSY, LOST, QUOTA, REFUSED
from tests.unit.provisioner.world import CREATE, Bench

STARTED, ISSUED = "operation.started.v1", "operation.issued.v1"
SUCCEEDED, FAILED = "operation.succeeded.v1", "operation.failed.v1"
RETRYING, CANCELLED = "operation.retrying.v1", "operation.cancelled.v1"
CREATE_OR_DELETE = CREATE.model_copy(update={"on_failure": "delete"})


async def failure(bench: Bench) -> Failed:
    """The failure that was said, once."""
    assert (await bench.heard()).count(FAILED) == 1
    told: Failed = bench.last(Failed)
    return told


async def test_retry_after_is_honoured(bench: Bench) -> None:
    bench.cloud.order("create", BUSY)
    operation_id = await bench.ask(CREATE)
    await bench.work()
    assert await bench.heard() == [STARTED, RETRYING]
    assert (bench.last(Retrying).due_at - bench.clock()).total_seconds() == 7
    assert await bench.later(6) == 0
    assert await bench.later(1) == 1
    assert await bench.state(operation_id) == "waiting"


async def test_without_retry_after_pauses_double_up_to_the_cap(bench: Bench) -> None:
    await bench.have_server()
    gone = type(BUSY)(ErrorCode.CLOUD_UNAVAILABLE, "connection refused")
    bench.cloud.order("stop", gone, times=99)
    await bench.ask(Stop())
    pauses: list[float] = []
    for _ in range(7):
        await bench.work()
        await bench.heard()
        due = bench.last(Retrying).due_at
        pauses.append((due - bench.clock()).total_seconds())
        bench.clock.now = due
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize("after", [timedelta(), timedelta(milliseconds=1)])
async def test_a_cloud_that_says_at_once_is_asked_ever_less_all_the_same(
    bench: Bench, after: timedelta
) -> None:
    await bench.have_server()
    at_once = Retry(ErrorCode.CLOUD_BUSY, "429 Too Many Requests", after=after)
    bench.cloud.order("stop", at_once, times=999)
    await bench.ask(Stop())
    pauses: list[float] = []
    for _ in range(7):
        await bench.work()
        row = (await bench.rows())[0]
        assert row.due_at is not None
        pauses.append((row.due_at - bench.clock()).total_seconds())
        bench.clock.now = row.due_at
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


async def test_a_cloud_that_is_gone_ends_the_operation_at_its_deadline_with_the_last_reason(
    bench: Bench,
) -> None:
    await bench.have_server()
    bench.cloud.order("stop", type(BUSY)(ErrorCode.CLOUD_UNAVAILABLE, "no route to host"), times=99)
    await bench.ask(Stop())
    for _ in range(20):
        await bench.later(30)
    told = await failure(bench)
    assert told.error.code is ErrorCode.DEADLINE
    assert "no route to host" in told.error.detail


async def test_a_quota_is_waited_for_and_named(bench: Bench) -> None:
    bench.cloud.order("create", QUOTA, times=2)
    operation_id = await bench.ask(CREATE)
    await bench.work()
    assert (await bench.row(operation_id)).blocked_on == "quota"
    await bench.heard()
    assert bench.last(Retrying).blocked_on == "quota"
    await bench.later(30)
    await bench.later(30)
    row = await bench.row(operation_id)
    assert (row.state, row.blocked_on) == ("waiting", None)


@pytest.mark.parametrize(("command", "gone"), [(CREATE, False), (CREATE_OR_DELETE, True)])
async def test_a_create_that_is_refused_fails_and_made_nothing(
    bench: Bench, command: Any, gone: bool
) -> None:
    bench.cloud.order("create", REFUSED)
    await bench.ask(command)
    await bench.work()
    told = await failure(bench)
    assert (told.error.code, told.gone) == (ErrorCode.CLOUD_REFUSED, gone)
    assert told.server_id is None
    assert bench.cloud.calls == ["create"]


async def test_a_failed_build_is_kept_with_the_clouds_words(bench: Bench) -> None:
    _, server_id = await bench.create()
    bench.cloud.fail(server_id, "No valid host was found.")
    await bench.see()
    await bench.work()
    told = await failure(bench)
    assert told.error.detail == "No valid host was found."
    assert (told.server_id, told.gone) == (server_id, False)
    assert len(bench.cloud.alive()) == 1
    assert bench.cloud.calls == ["create"]


async def test_a_failed_build_is_deleted_first_where_that_is_the_policy(bench: Bench) -> None:
    operation_id = await bench.ask(CREATE_OR_DELETE)
    await bench.work()
    server_id = (await bench.row(operation_id)).server_id or ""
    bench.cloud.fail(server_id, "No valid host was found.")
    await bench.see()
    await bench.work()
    assert FAILED not in await bench.heard(), "the server is still there"
    bench.cloud.settle()
    await bench.see()
    await bench.work()
    told = await failure(bench)
    assert told.error.detail == "No valid host was found."
    assert told.gone
    assert bench.cloud.alive() == []


async def test_an_unanswered_creates_server_is_found_by_its_mark_at_the_deadline(
    bench: Bench,
) -> None:
    bench.cloud.order("create", LOST, after_effect=True)
    bench.cloud.order("find", BUSY, times=1)
    await bench.ask(CREATE)
    await bench.work()
    await bench.later(15 * 60)
    await bench.later(30)
    await bench.later(30)
    told = await failure(bench)
    assert told.server_id == bench.cloud.alive()[0].snapshot.server_id


async def test_undoing_ends_too_although_the_cloud_never_answers(bench: Bench) -> None:
    operation_id = await bench.ask(CREATE_OR_DELETE)
    await bench.work()
    bench.cloud.order("find", LOST, times=999)
    await bench.later(15 * 60)
    for _ in range(30):
        await bench.later(30)
    told = await failure(bench)
    assert not told.gone
    assert await bench.state(operation_id) == "failed"


async def test_a_command_behind_one_that_never_ends_is_ended_by_its_own_deadline(
    bench: Bench,
) -> None:
    await bench.create()
    stop = await bench.ask(Stop())
    await bench.later(5 * 60)
    assert await bench.state(stop) == "failed"
    assert bench.cloud.calls == ["create"]


async def test_a_queued_command_is_cancelled_at_once(bench: Bench) -> None:
    await bench.create()
    stop = await bench.ask(Stop())
    await bench.heard()
    await bench.cancel(stop)
    assert await bench.heard() == [CANCELLED]
    assert await bench.state(stop) == "cancelled"
    assert await bench.work() == 0


async def test_a_create_that_waits_for_quota_is_cancelled_at_once(bench: Bench) -> None:
    bench.cloud.order("create", QUOTA)
    operation_id = await bench.ask(CREATE)
    await bench.work()
    await bench.cancel(operation_id)
    assert await bench.heard() == [STARTED, RETRYING, CANCELLED]


async def test_a_create_under_way_is_cancelled_once_its_server_is_gone(bench: Bench) -> None:
    operation_id, _ = await bench.create()
    await bench.heard()
    await bench.cancel(operation_id)
    await bench.work()
    assert await bench.heard() == []
    bench.cloud.settle()
    await bench.see()
    await bench.work()
    assert await bench.heard() == [CANCELLED]
    assert bench.cloud.alive() == []
    assert bench.cloud.called("delete") == 1


async def test_a_create_cancelled_during_its_call_is_undone(bench: Bench) -> None:
    operation_id = await bench.ask(CREATE)
    (claimed,) = await bench.service.worker.claim()
    await bench.cancel(operation_id)
    await bench.service.worker.work(claimed)
    await bench.work()
    bench.cloud.settle()
    await bench.later(3)
    assert (await bench.heard())[-1] == CANCELLED
    assert bench.cloud.alive() == []


async def test_a_create_cancelled_while_its_worker_was_dead_is_undone(bench: Bench) -> None:
    operation_id = await bench.ask(CREATE)
    (claimed,) = await bench.service.worker.claim()
    await bench.service.worker.attempt(claimed)
    await bench.kill()
    await bench.cancel(operation_id)
    await bench.later(31)
    bench.cloud.settle()
    await bench.later(30)
    assert await bench.state(operation_id) == "cancelled"
    assert bench.cloud.alive() == []


async def test_a_cancel_of_another_action_under_way_changes_nothing(bench: Bench) -> None:
    await bench.have_server()
    operation_id = await bench.ask(Stop())
    await bench.work()
    await bench.cancel(operation_id)
    bench.cloud.settle()
    await bench.see()
    assert await bench.heard() == [STARTED, ISSUED, SUCCEEDED, "vm.stopped.v1"]


async def test_a_cancel_of_what_has_ended_changes_nothing(bench: Bench) -> None:
    operation_id, _ = await bench.create()
    bench.cloud.settle()
    await bench.see()
    await bench.heard()
    await bench.cancel(operation_id)
    assert await bench.heard() == []
    assert await bench.state(operation_id) == "succeeded"


async def test_another_projects_cancel_changes_nothing(bench: Bench) -> None:
    operation_id = await bench.ask(CREATE)
    vm_id, bench.vm_id = bench.vm_id, (await bench.row(operation_id)).id
    await bench.cancel(operation_id)
    assert await bench.state(operation_id) == "queued"
    bench.vm_id = vm_id


async def test_a_stop_without_effect_is_found_out_by_the_clouds_record(bench: Bench) -> None:
    server_id = await bench.have_server()
    await bench.ask(Stop())
    await bench.work()
    bench.cloud.fail(server_id, "the guest did not answer", state=None)
    bench.cloud.change(server_id, state=VmState.ACTIVE)
    await bench.see()
    await bench.work()
    told = await failure(bench)
    assert told.error.code is ErrorCode.CLOUD_FAULT
    assert told.error.detail == "the guest did not answer"


async def test_a_stop_that_finished_while_the_server_runs_had_no_effect(bench: Bench) -> None:
    server_id = await bench.have_server()
    await bench.ask(Stop())
    await bench.work()
    bench.cloud.settle()
    bench.cloud.change(server_id, state=VmState.ACTIVE)
    await bench.see()
    await bench.work()
    assert (await failure(bench)).error.code is ErrorCode.NO_EFFECT


async def test_a_doubt_that_the_record_does_not_clear_up_is_left_and_asked_about_ever_less(
    bench: Bench,
) -> None:
    server_id = await bench.have_server()
    operation_id = await bench.ask(Stop())
    await bench.work()
    bench.cloud.change(server_id, task=None)
    for _ in range(30):
        await bench.see()
        await bench.work()
    assert bench.cloud.called("actions") <= 5
    assert await bench.state(operation_id) == "waiting"
    bench.cloud.settle()
    await bench.see()
    assert await bench.state(operation_id) == "succeeded"


async def test_a_delete_ends_although_its_server_is_seen_gone_while_the_cloud_is_asked_about_it(
    bench: Bench,
) -> None:
    operation_id, asked = await bench.doubt(Delete())
    answer = await bench.service.worker.attempt(asked)
    bench.cloud.settle()
    await bench.see()
    await bench.service.worker.record(asked, answer)
    bench.service.worker.forget(asked)
    await bench.work()
    assert await bench.state(operation_id) == "succeeded"


async def test_what_the_cloud_took_and_never_finished_is_told_as_stalled_with_what_it_shows(
    bench: Bench,
) -> None:
    server_id = await bench.have_server()
    await bench.ask(Stop())
    await bench.work()
    bench.cloud.change(server_id, task="powering-off")
    await bench.see()
    since = bench.cloud.now
    await bench.see()
    await bench.later(5 * 60)
    told = await failure(bench)
    assert told.error.code is ErrorCode.STALLED
    assert "active with the task 'powering-off'" in told.error.detail
    assert f"since {since:%Y-%m-%d %H:%M:%S} UTC" in told.error.detail


async def test_a_cloud_that_keeps_no_record_leaves_a_doubt_to_the_deadline(bench: Bench) -> None:
    server_id = await bench.have_server()
    bench.cloud.records_kept = False
    await bench.ask(Stop())
    await bench.work()
    bench.cloud.change(server_id, task=None)
    await bench.see()
    await bench.work()
    await bench.later(5 * 60)
    assert (await failure(bench)).error.code is ErrorCode.STALLED


async def test_a_stop_of_a_server_in_error_is_no_failure_by_that_alone(bench: Bench) -> None:
    server_id = await bench.have_server(VmState.ERROR)
    operation_id = await bench.ask(Stop())
    await bench.work()
    await bench.see()
    bench.cloud.settle()
    assert bench.cloud.servers[server_id].state is VmState.STOPPED
    await bench.see()
    assert await bench.state(operation_id) == "succeeded"


async def test_a_server_deleted_by_someone_else_fails_the_reboot_that_waits(
    bench: Bench,
) -> None:
    server_id = await bench.have_server()
    await bench.ask(Reboot())
    await bench.work()
    bench.cloud.change(server_id, state=VmState.DELETED)
    await bench.see_change(bench.cloud.servers[server_id].snapshot)
    assert (await failure(bench)).error.code is ErrorCode.NO_SERVER


async def test_a_server_that_vanished_fails_the_next_command_but_not_a_delete(
    bench: Bench,
) -> None:
    server_id = await bench.have_server()
    bench.cloud.vanish(server_id)
    await bench.ask(Stop())
    await bench.work()
    assert (await failure(bench)).error.code is ErrorCode.NO_SERVER
    delete = await bench.ask(Delete())
    await bench.work()
    await bench.see()
    await bench.work()
    assert await bench.state(delete) == "succeeded"


async def test_what_sync_saw_before_the_call_does_not_settle_it(bench: Bench) -> None:
    await bench.have_server(VmState.STOPPED)
    stale = bench.snapshot()
    operation_id = await bench.ask(Stop())
    await bench.see(stale)
    assert await bench.state(operation_id) == "queued"


async def test_a_create_is_not_settled_by_what_is_seen_of_a_surplus_server(bench: Bench) -> None:
    operation_id, _ = await bench.create()
    surplus = VmSnapshot(server_id="surplus", name="web-1", state=VmState.ACTIVE)
    await bench.see(surplus)
    assert (await bench.row(operation_id)).state == OperationState.WAITING
    bench.cloud.settle()
    await bench.see()
    assert (await bench.row(operation_id)).state == OperationState.SUCCEEDED


async def test_a_delete_that_the_cloud_took_and_dropped_is_asked_for_again(bench: Bench) -> None:
    server_id = await bench.have_server()
    operation_id = await bench.ask(Delete())
    await bench.work()
    bench.cloud.change(server_id, task=None)
    await bench.see()
    await bench.later(20)
    assert bench.cloud.called("delete") == 1
    for _ in range(4):
        await bench.see()
        await bench.later(20)
    assert bench.cloud.called("delete") == 2
    bench.cloud.settle()
    await bench.see()
    await bench.work()
    assert await bench.state(operation_id) == "succeeded"


async def test_a_delete_that_the_cloud_is_at_is_not_asked_for_again(bench: Bench) -> None:
    await bench.have_server()
    await bench.ask(Delete())
    await bench.work()
    for _ in range(6):
        await bench.see()
        await bench.later(20)
    assert bench.cloud.called("delete") == 1
