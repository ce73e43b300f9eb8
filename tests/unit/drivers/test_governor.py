"""Who may ask a cloud, and when."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from chassis.errors import Retry
from contracts.errors import ErrorCode
from drivers.governor import Governor, Lane, Limits, Permit

COMMAND, SWEEP = Lane.COMMAND, Lane.SWEEP


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at

    def turn(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def governor(clock: Clock, account: str = "demo", **limits: float | None) -> Governor:
    made = Limits(**{"concurrency": 3, "sweeps": 2, "failures": 3, **limits})  # pyright: ignore[reportArgumentType] - numbers by name
    return Governor(account, made, now=clock, random=lambda: 0.5)


class Callers:
    """Calls that hold their permit until they are let go."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor
        self.tasks: list[asyncio.Task[None]] = []
        self.through: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def call(self, name: str, lane: Lane) -> asyncio.Task[None]:
        self._ends[name] = asyncio.Event()
        self.tasks.append(asyncio.create_task(self._hold(name, lane)))
        await settled()
        return self.tasks[-1]

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await settled()

    async def _hold(self, name: str, lane: Lane) -> None:
        async with self._governor.permit(lane) as permit:
            self.through.append(name)
            await self._ends[name].wait()
            permit.answered()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def calling(governor: Governor) -> AsyncGenerator[Callers]:
    callers = Callers(governor)
    yield callers
    for task in callers.tasks:
        task.cancel()
    await asyncio.gather(*callers.tasks, return_exceptions=True)


async def once(governor: Governor, lane: Lane = COMMAND) -> None:
    async with governor.permit(lane) as permit:
        permit.answered()


async def fail(governor: Governor, times: int = 1) -> None:
    for _ in range(times):
        async with governor.permit(COMMAND) as permit:
            permit.failed()


async def hear(governor: Governor, after: timedelta | None) -> None:
    async with governor.permit(COMMAND) as permit:
        permit.told_to_wait(after)


async def refused(governor: Governor, lane: Lane = COMMAND) -> Retry:
    with pytest.raises(Retry) as refusal:
        await once(governor, lane)
    assert not refusal.value.uncertain
    return refusal.value


def seconds(retry: Retry) -> float:
    assert retry.after is not None
    return retry.after.total_seconds()


async def test_no_more_calls_go_out_at_a_time_than_allowed(clock: Clock) -> None:
    async with calling(governor(clock)) as callers:
        for name in "abcd":
            await callers.call(name, COMMAND)
        assert callers.through == ["a", "b", "c"]
        await callers.end("b")
        assert callers.through == ["a", "b", "c", "d"]


async def test_a_command_goes_before_sweeps_that_came_earlier(clock: Clock) -> None:
    async with calling(governor(clock, concurrency=2, sweeps=1)) as callers:
        for name, lane in (("s1", SWEEP), ("c1", COMMAND), ("s2", SWEEP), ("c2", COMMAND)):
            await callers.call(name, lane)
        await callers.end("s1")
        assert callers.through == ["s1", "c1", "c2"]
        await callers.end("c1")
        assert callers.through == ["s1", "c1", "c2", "s2"]


async def test_sweeps_never_hold_all_permits(clock: Clock) -> None:
    async with calling(governor(clock)) as callers:
        for name in ("s1", "s2", "s3", "s4"):
            await callers.call(name, SWEEP)
        assert callers.through == ["s1", "s2"]
        await callers.call("c", COMMAND)
        assert callers.through == ["s1", "s2", "c"]


async def test_a_stream_of_commands_does_not_keep_a_sweep_out_for_ever(clock: Clock) -> None:
    async with calling(governor(clock, concurrency=1, sweeps=1)) as callers:
        await callers.call("c0", COMMAND)
        await callers.call("sweep", SWEEP)
        for number in range(1, 20):
            await callers.call(f"c{number}", COMMAND)
        for _ in range(12):
            await callers.end(callers.through[-1])
        assert "sweep" in callers.through


async def test_a_call_that_is_cancelled_while_it_waits_takes_nobodys_turn(clock: Clock) -> None:
    async with calling(governor(clock, concurrency=2, sweeps=1)) as callers:
        for name in ("a", "b", "c", "d"):
            await callers.call(name, COMMAND)
        callers.tasks[2].cancel()
        await settled()
        await callers.end("a")
        assert callers.through == ["a", "b", "d"]


async def test_a_call_that_is_cancelled_as_its_turn_comes_gives_it_back(clock: Clock) -> None:
    async with calling(governor(clock, concurrency=2, sweeps=1)) as callers:
        for name in ("a", "b", "c"):
            await callers.call(name, COMMAND)
        callers.tasks[0].cancel()  # its permit goes to c in the same turn of the loop …
        await asyncio.sleep(0)
        callers.tasks[2].cancel()  # … in which c is cancelled
        await settled()
        await callers.call("d", COMMAND)
        assert callers.through[-1] == "d"


async def test_calls_keep_to_the_pace_and_a_rest_allows_a_burst(clock: Clock) -> None:
    async with calling(governor(clock, concurrency=9, rate=100.0, burst=2)) as callers:
        for name in ("a", "b", "c"):
            await callers.call(name, COMMAND)
        assert callers.through == ["a", "b"]
        clock.turn(0.01)
        while len(callers.through) < 3:
            await asyncio.sleep(0.001)
        assert callers.through == ["a", "b", "c"]
        clock.turn(60)
        for name in ("d", "e", "f"):
            await callers.call(name, COMMAND)
        assert callers.through == ["a", "b", "c", "d", "e"]


async def test_sweeps_keep_to_a_pace_of_their_own_and_commands_do_not_wait_for_it(
    clock: Clock,
) -> None:
    paced = governor(clock, concurrency=9, sweeps=8, sweep_rate=100.0, burst=1)
    async with calling(paced) as callers:
        for name in ("s1", "s2"):
            await callers.call(name, SWEEP)
        for name in ("a", "b", "c"):
            await callers.call(name, COMMAND)
        assert callers.through == ["s1", "a", "b", "c"]
        clock.turn(0.01)
        while len(callers.through) < 5:
            await asyncio.sleep(0.001)
        assert callers.through[-1] == "s2"


async def test_a_sweep_whose_pace_is_not_due_does_not_hold_up_commands_at_its_turn(
    clock: Clock,
) -> None:
    paced = governor(clock, concurrency=1, sweeps=1, sweep_rate=0.001, burst=1)
    async with calling(paced) as callers:
        await callers.call("s0", SWEEP)
        await callers.call("c0", COMMAND)
        await callers.end("s0")
        await callers.call("s1", SWEEP)
        for number in range(1, 20):
            await callers.call(f"c{number}", COMMAND)
            await callers.end(f"c{number - 1}")
        assert callers.through == ["s0", *(f"c{n}" for n in range(20))]


async def test_a_cloud_that_asks_for_a_pause_is_left_alone_that_long(clock: Clock) -> None:
    asked = governor(clock)
    await hear(asked, timedelta(seconds=7))
    refusal = await refused(asked)
    assert (refusal.code, seconds(refusal)) == (ErrorCode.CLOUD_BUSY, 7)
    clock.turn(7)
    await once(asked)


async def test_sweeps_come_back_later_than_commands(clock: Clock) -> None:
    asked = governor(clock)
    await hear(asked, timedelta(seconds=7))
    clock.turn(8)
    await once(asked)
    assert seconds(await refused(asked, SWEEP)) == 6
    clock.turn(6)
    await once(asked, SWEEP)


async def test_a_shorter_pause_does_not_end_a_longer_one(clock: Clock) -> None:
    asked = governor(clock)
    async with asked.permit(COMMAND) as first, asked.permit(COMMAND) as second:
        first.told_to_wait(timedelta(seconds=30))
        second.told_to_wait(timedelta(seconds=1))
    assert seconds(await refused(asked)) == 30


async def test_pauses_whose_length_is_not_said_grow_until_an_answer_comes(clock: Clock) -> None:
    asked = governor(clock)
    for expected in (1, 2, 4, 8, 16, 30, 30):
        await hear(asked, None)
        assert seconds(await refused(asked)) == expected
        clock.turn(expected)
    await once(asked)
    await hear(asked, None)
    assert seconds(await refused(asked)) == 1


async def test_another_account_does_not_notice_a_pause_or_an_open_circuit(clock: Clock) -> None:
    slow, silent, fine = (governor(clock, name) for name in ("slow", "silent", "fine"))
    await hear(slow, timedelta(seconds=60))
    await fail(silent, 3)
    await once(fine)
    assert fine.rests_until() is None


async def test_those_who_wait_when_a_pause_begins_are_told_at_once(clock: Clock) -> None:
    asked = governor(clock, concurrency=2, sweeps=1)
    async with calling(asked) as callers:
        await callers.call("a", COMMAND)
        async with asked.permit(COMMAND) as permit:
            waiting = [await callers.call("b", COMMAND), await callers.call("s", SWEEP)]
            permit.told_to_wait(timedelta(seconds=5))
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [seconds(each) for each in found if isinstance(each, Retry)] == [5, 10]


async def test_failures_in_a_row_open_the_circuit_and_calls_fail_at_once(clock: Clock) -> None:
    asked = governor(clock)
    await fail(asked, 3)
    refusal = await refused(asked)
    assert refusal.code is ErrorCode.CLOUD_UNAVAILABLE
    assert seconds(refusal) == pytest.approx(5.5)  # pyright: ignore[reportUnknownMemberType]


async def test_an_answer_in_between_keeps_the_circuit_closed(clock: Clock) -> None:
    asked = governor(clock)
    for _ in range(5):
        await fail(asked, 2)
        await once(asked)
    assert asked.rests_until() is None


async def test_after_the_rest_one_call_at_a_time_tries(clock: Clock) -> None:
    asked = governor(clock)
    await fail(asked, 3)
    clock.turn(6)
    async with asked.permit(COMMAND) as trial:
        assert (await refused(asked)).code is ErrorCode.CLOUD_UNAVAILABLE
        trial.answered()
        await once(asked)


async def test_a_failed_trial_opens_it_for_twice_as_long_up_to_a_limit(clock: Clock) -> None:
    asked = governor(clock, longest_rest=15.0)
    await fail(asked, 3)
    for expected in (11, 16.5, 16.5):
        clock.turn(60)
        await fail(asked)
        assert seconds(await refused(asked)) == pytest.approx(expected)  # pyright: ignore[reportUnknownMemberType]
    clock.turn(60)
    await once(asked)
    await fail(asked, 3)
    assert seconds(await refused(asked)) == pytest.approx(5.5)  # pyright: ignore[reportUnknownMemberType]


async def test_a_trial_that_is_cancelled_leaves_it_to_the_next(clock: Clock) -> None:
    asked = governor(clock)
    await fail(asked, 3)
    clock.turn(6)
    async with calling(asked) as callers:
        task = await callers.call("trial", COMMAND)
        task.cancel()
        await settled()
        await once(asked)
    assert asked.rests_until() is None


async def test_calls_from_before_it_opened_do_not_open_it_again(clock: Clock) -> None:
    asked = governor(clock, concurrency=9)
    async with asked.permit(COMMAND) as late:
        await fail(asked, 3)
        clock.turn(6)
        async with asked.permit(COMMAND) as trial:
            late.failed()
            trial.answered()
    await once(asked)


async def test_it_says_until_when_the_account_rests(clock: Clock) -> None:
    asked = governor(clock)
    assert asked.rests_until() is None
    await hear(asked, timedelta(seconds=600))
    until = asked.rests_until()
    assert until is not None
    assert timedelta(seconds=590) < until - datetime.now(UTC) <= timedelta(seconds=600)
    clock.turn(600)
    assert asked.rests_until() is None


async def test_what_it_does_is_measured(clock: Clock) -> None:
    def value(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"account": "measured", **labels})

    asked = governor(clock, "measured", concurrency=1, sweeps=1)
    async with calling(asked) as callers:
        await callers.call("a", COMMAND)
        await callers.call("b", SWEEP)
        assert value("hostler_cloud_permits", lane="command") == 1
        assert value("hostler_cloud_waiting", lane="sweep") == 1
    await fail(asked, 3)
    assert value("hostler_cloud_circuit") == 2
    clock.turn(6)
    await hear(asked, timedelta(seconds=1))
    assert value("hostler_cloud_circuit") == 0
    assert value("hostler_cloud_pauses_total") == 1
    await refused(asked)
    assert value("hostler_cloud_held_back_total", lane="command") == 1


async def test_a_permit_is_given_back_whatever_happens_under_it(clock: Clock) -> None:
    asked = governor(clock, concurrency=1, sweeps=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await _break(asked)
    await once(asked)


async def _break(asked: Governor) -> Permit:
    async with asked.permit(COMMAND):
        raise ZeroDivisionError
