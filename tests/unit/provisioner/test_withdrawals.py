"""A cancel that was accepted is kept until the operation ends: by it, or by what had come first."""

import pytest

from chassis.errors import Retry
from contracts.errors import ErrorCode
from contracts.vm.commands import Delete, Reboot, Stop
from contracts.vm.states import VmState
from tests.fakes.driver import BUSY, LOST
from tests.unit.provisioner.world import CREATE, Bench

CANCELLED, SUCCEEDED = "operation.cancelled.v1", "operation.succeeded.v1"
GONE = Retry(ErrorCode.CLOUD_UNAVAILABLE, "connection refused")


@pytest.mark.parametrize("command", [Stop(), Reboot(), Delete()])
@pytest.mark.parametrize("error", [BUSY, GONE])
async def test_cancelled_during_an_attempt_that_the_cloud_does_not_take_it_ends_so(
    bench: Bench, command: Stop, error: Retry
) -> None:
    await bench.have_server()
    bench.cloud.order(command.verb(), error)
    operation_id = await bench.ask(command)
    (claimed,) = await bench.service.worker.claim()
    await bench.cancel(operation_id)
    await bench.service.worker.work(claimed)
    assert await bench.state(operation_id) == "cancelled"
    assert (await bench.heard())[-1] == CANCELLED
    await bench.later(60)
    assert bench.cloud.called(command.verb()) == 1


@pytest.mark.parametrize("killed", [True, False])
async def test_cancelled_during_an_attempt_that_is_not_answered_it_ends_so_after_a_look(
    bench: Bench, killed: bool
) -> None:
    await bench.have_server()
    bench.cloud.order("stop", LOST)
    operation_id = await bench.ask(Stop())
    (claimed,) = await bench.service.worker.claim()
    await bench.cancel(operation_id)
    if killed:
        await bench.service.worker.attempt(claimed)
        await bench.kill()
    else:
        await bench.service.worker.work(claimed)
    await bench.later(31)
    assert await bench.state(operation_id) == "cancelled"
    assert bench.cloud.called("stop") == 1


async def test_cancelled_while_an_unanswered_attempt_waits_for_its_look_it_ends_so(
    bench: Bench,
) -> None:
    await bench.have_server()
    bench.cloud.order("stop", LOST)
    operation_id = await bench.ask(Stop())
    await bench.work()
    assert await bench.state(operation_id) == "queued"
    await bench.cancel(operation_id)
    await bench.later(31)
    assert await bench.state(operation_id) == "cancelled"
    assert bench.cloud.called("stop") == 1


@pytest.mark.parametrize("answered", [True, False])
async def test_cancelled_when_the_cloud_has_it_already_its_outcome_stands(
    bench: Bench, answered: bool
) -> None:
    server_id = await bench.have_server()
    bench.cloud.order("stop", None if answered else LOST, after_effect=True)
    operation_id = await bench.ask(Stop())
    (claimed,) = await bench.service.worker.claim()
    await bench.cancel(operation_id)
    await bench.service.worker.work(claimed)
    await bench.later(4)
    bench.cloud.settle()
    await bench.see()
    assert await bench.state(operation_id) == "succeeded"
    assert bench.cloud.servers[server_id].state is VmState.STOPPED
    assert CANCELLED not in await bench.heard()


async def test_what_stands_behind_a_withdrawn_command_goes_on(bench: Bench) -> None:
    await bench.have_server()
    bench.cloud.order("reboot", BUSY)
    reboot, stop = await bench.ask(Reboot()), await bench.ask(Stop())
    (claimed,) = await bench.service.worker.claim()
    await bench.cancel(reboot)
    await bench.service.worker.work(claimed)
    await bench.work()
    assert [await bench.state(each) for each in (reboot, stop)] == ["cancelled", "waiting"]


async def test_a_retry_after_a_cancel_that_came_too_late_is_the_later_word(bench: Bench) -> None:
    server_id = await bench.have_server()
    operation_id = await bench.ask(Stop())
    await bench.work()
    await bench.cancel(operation_id)
    bench.cloud.change(server_id, task=None)
    await bench.retry(operation_id)
    await bench.work()
    assert (await bench.state(operation_id), bench.cloud.called("stop")) == ("waiting", 2)


async def test_a_create_that_is_kept_where_it_failed_is_removed_if_it_is_cancelled_meanwhile(
    bench: Bench,
) -> None:
    bench.cloud.order("create", LOST, after_effect=True)
    bench.cloud.order("find", BUSY, times=2)
    operation_id = await bench.ask(CREATE)
    await bench.work()
    await bench.later(CREATE.deadline.total_seconds())
    assert (await bench.row(operation_id)).compensating
    await bench.cancel(operation_id)
    for _ in range(4):
        await bench.later(31)
        bench.cloud.settle()
    assert await bench.state(operation_id) == "cancelled"
    assert bench.cloud.alive() == []
