"""A build that fails or hangs ends by its policy: kept, deleted, or made anew a few times."""

from datetime import timedelta

import pytest

from contracts.errors import ErrorCode
from contracts.message import Command
from contracts.operation.events import Failed, Issued, Retrying
from contracts.vm.states import VmSnapshot, VmState
from tests.fakes.driver import BUSY, LOST, QUOTA
from tests.unit.provisioner.world import CREATE, Bench

RETRYING, FAILED = "operation.retrying.v1", "operation.failed.v1"
OR_DELETE = CREATE.model_copy(update={"on_failure": "delete"})
OR_RETRY = CREATE.model_copy(update={"on_failure": "retry"})
TIMEOUT = 10 * 60
DEADLINE = 15 * 60


async def begun(bench: Bench, command: Command) -> str:
    """A create that waits for its server; the server's id."""
    await bench.ask(command)
    await bench.work()
    await bench.heard()
    return bench.cloud.alive()[0].snapshot.server_id or ""


async def removed(bench: Bench) -> None:
    """What is under way in the cloud ends, deletes above all; sync sees that no server is left."""
    for server_id, server in bench.cloud.servers.items():
        if server.to is VmState.DELETED:
            bench.cloud.change(server_id, state=VmState.DELETED, task=None)
            server.to = None
    await bench.see(VmSnapshot(state=VmState.REQUESTED))
    await bench.later(30)


async def only_operation(bench: Bench) -> tuple[str, int]:
    (row,) = await bench.rows()
    return row.state, row.rebuilds


async def test_a_build_is_not_asked_about_before_it_takes_too_long(bench: Bench) -> None:
    await begun(bench, CREATE)
    await bench.later(TIMEOUT - 1)
    assert bench.cloud.calls == ["create"]


async def test_a_build_that_hangs_is_kept_as_stalled_where_that_is_the_policy(
    bench: Bench,
) -> None:
    server_id = await begun(bench, CREATE)
    await bench.later(TIMEOUT)
    assert await bench.heard() == [FAILED]
    told: Failed = bench.last(Failed)
    assert (told.error.code, told.server_id, told.gone) == (ErrorCode.STALLED, server_id, False)
    assert "the task 'spawning'" in told.error.detail
    assert bench.cloud.calls == ["create", "look"]
    assert len(bench.cloud.alive()) == 1


async def test_a_build_that_hangs_is_deleted_where_that_is_the_policy(bench: Bench) -> None:
    await begun(bench, OR_DELETE)
    await bench.later(TIMEOUT)
    assert FAILED not in await bench.heard(), "the server is still there"
    await removed(bench)
    assert (await bench.heard())[-1] == FAILED
    told: Failed = bench.last(Failed)
    assert (told.error.code, told.gone) == (ErrorCode.STALLED, True)
    assert bench.cloud.alive() == []


async def test_a_build_that_succeeded_unseen_is_no_stall(bench: Bench) -> None:
    await begun(bench, OR_RETRY)
    bench.cloud.settle()
    await bench.later(TIMEOUT)
    assert await bench.heard() == []
    assert bench.cloud.calls == ["create", "look"]
    await bench.see()
    assert (await bench.heard())[0] == "operation.succeeded.v1"


async def test_a_cloud_that_does_not_answer_the_watchdog_is_asked_again(bench: Bench) -> None:
    await begun(bench, CREATE)
    bench.cloud.order("look", BUSY, times=2)
    await bench.later(TIMEOUT)
    assert FAILED not in await bench.heard()
    await bench.later(30)
    await bench.later(30)
    assert await bench.heard() == [FAILED]


async def test_a_build_that_hangs_is_made_anew_once_its_server_is_gone(bench: Bench) -> None:
    first = await begun(bench, OR_RETRY)
    await bench.later(TIMEOUT)
    assert await bench.heard() == [RETRYING]
    told: Retrying = bench.last(Retrying)
    assert told.error.code is ErrorCode.STALLED
    assert told.deadline_at is not None
    assert (told.deadline_at - bench.clock()).total_seconds() == 15 * 60
    assert bench.cloud.called("create") == 1, "the first server is still there"
    await removed(bench)
    assert bench.cloud.called("create") == 2
    await bench.heard()
    second = bench.last(Issued).server_id
    assert second != first
    bench.cloud.settle()
    await bench.see()
    assert (await bench.heard())[0] == "operation.succeeded.v1"
    assert await only_operation(bench) == ("succeeded", 1)


async def hung_at_deadline(bench: Bench, command: Command) -> None:
    """A create that waited for room so long that its deadline comes before `build_timeout`."""
    bench.cloud.order("create", QUOTA, times=12)
    await bench.ask(command)
    await bench.work()
    for _ in range(12):
        await bench.later(30)
    assert bench.cloud.called("create") == 13
    assert len(bench.cloud.alive()) == 1
    await bench.heard()
    await bench.later(DEADLINE - 12 * 30)


async def test_a_build_that_hangs_at_its_deadline_is_made_anew_where_that_is_the_policy(
    bench: Bench,
) -> None:
    await hung_at_deadline(bench, OR_RETRY)
    assert await bench.heard() == [RETRYING]
    told: Retrying = bench.last(Retrying)
    assert told.error.code is ErrorCode.STALLED
    assert told.deadline_at == bench.clock() + CREATE.deadline
    assert bench.cloud.called("create") == 13, "the first server is still there"
    await removed(bench)
    assert bench.cloud.called("create") == 14
    bench.cloud.settle()
    await bench.see()
    assert await only_operation(bench) == ("succeeded", 1)
    assert len(bench.cloud.alive()) == 1


@pytest.mark.parametrize(("command", "gone"), [(CREATE, False), (OR_DELETE, True)])
async def test_a_build_that_hangs_at_its_deadline_ends_as_its_policy_says_and_why(
    bench: Bench, command: Command, gone: bool
) -> None:
    await hung_at_deadline(bench, command)
    await removed(bench)
    assert (await bench.heard())[-1] == FAILED
    told: Failed = bench.last(Failed)
    assert (told.error.code, told.gone) == (ErrorCode.STALLED, gone)
    assert "The cloud took the request at" in told.error.detail
    assert len(bench.cloud.alive()) == (0 if gone else 1)


async def test_rounds_that_all_end_at_their_deadline_are_as_few_as_any(database_url: str) -> None:
    bench = Bench(database_url, build_timeout=timedelta(hours=1))
    await begun(bench, OR_RETRY)
    for _ in range(3):
        await bench.later(DEADLINE)
        await removed(bench)
    said = await bench.heard()
    await bench.close()
    assert (said.count(RETRYING), said.count(FAILED)) == (2, 1)
    told: Failed = bench.last(Failed)
    assert (told.error.code, told.gone) == (ErrorCode.STALLED, True)
    assert bench.cloud.called("create") == 3
    assert bench.cloud.alive() == []


async def test_what_is_still_said_of_the_first_server_says_nothing_of_the_second(
    bench: Bench,
) -> None:
    first = await begun(bench, OR_RETRY)
    bench.cloud.fail(first, "No valid host was found.")
    await bench.see()
    await bench.work()
    await removed(bench)
    await bench.heard()
    for server_id in (first, None):
        await bench.see_change(VmSnapshot(server_id=server_id, state=VmState.DELETED))
    assert await bench.heard() == []
    assert (await only_operation(bench))[0] == "waiting"


async def test_a_build_that_fails_again_and_again_is_given_up_after_so_many_rounds(
    bench: Bench,
) -> None:
    await begun(bench, OR_RETRY)
    for _ in range(3):
        server_id = bench.cloud.alive()[0].snapshot.server_id or ""
        bench.cloud.fail(server_id, "No valid host was found.")
        await bench.see(bench.cloud.servers[server_id].snapshot)
        await bench.work()
        await removed(bench)
    said = await bench.heard()
    assert (said.count(RETRYING), said.count(FAILED)) == (2, 1)
    told: Failed = bench.last(Failed)
    assert (told.error.code, told.gone) == (ErrorCode.CLOUD_FAULT, True)
    assert bench.cloud.called("create") == 3
    assert bench.cloud.alive() == []


async def test_a_server_that_somebody_removed_while_it_was_built_ends_the_create(
    bench: Bench,
) -> None:
    server_id = await begun(bench, OR_RETRY)
    bench.cloud.change(server_id, state=VmState.DELETED)
    await bench.see(VmSnapshot(state=VmState.REQUESTED))
    await bench.work()
    assert await bench.heard() == [FAILED]
    told: Failed = bench.last(Failed)
    assert (told.error.code, told.gone) == (ErrorCode.NO_SERVER, True)
    assert bench.cloud.called("create") == 1


async def test_a_cancel_while_it_is_made_anew_ends_it(bench: Bench) -> None:
    await begun(bench, OR_RETRY)
    await bench.later(TIMEOUT)
    (row,) = await bench.rows()
    await bench.cancel(row.id)
    await bench.work()
    await removed(bench)
    assert (await bench.heard())[-1] == "operation.cancelled.v1"
    assert bench.cloud.called("create") == 1
    assert bench.cloud.alive() == []


@pytest.mark.parametrize("killed", range(5))
async def test_a_worker_killed_at_any_step_of_a_round_leaves_one_server(
    bench: Bench, killed: int
) -> None:
    """Each step: claimed only, or called and not recorded; every message comes twice."""
    first = await begun(bench, OR_RETRY)
    bench.cloud.fail(first, "No valid host was found.")
    await bench.see()
    for step in range(5):
        claims = await bench.service.worker.claim()
        if step == killed:
            for claimed in claims[: step % 2]:
                await bench.service.worker.attempt(claimed)
            await bench.kill()
            bench.clock.advance(seconds=31)
        else:
            for claimed in claims:
                await bench.service.worker.work(claimed)
        for server_id, server in bench.cloud.servers.items():
            if server.to is VmState.DELETED:
                bench.cloud.change(server_id, state=VmState.DELETED, task=None)
        bench.clock.advance(seconds=4)
    for _ in range(3):
        await bench.later(31)
    (second,) = bench.cloud.alive()
    bench.cloud.settle()
    await bench.see()
    assert second.snapshot.server_id != first
    assert await only_operation(bench) == ("succeeded", 1)


async def test_an_unanswered_second_create_is_adopted(bench: Bench) -> None:
    first = await begun(bench, OR_RETRY)
    bench.cloud.order("create", LOST, after_effect=True)
    bench.cloud.fail(first, "No valid host was found.")
    await bench.see()
    await bench.work()
    await removed(bench)
    await bench.later(30)
    assert bench.cloud.called("create") == 2
    assert len(bench.cloud.alive()) == 1
    bench.cloud.settle()
    await bench.see()
    assert await only_operation(bench) == ("succeeded", 1)
