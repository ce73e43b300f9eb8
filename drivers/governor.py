"""How an account's calls share its cloud: who goes first, how fast, and when nobody may ask."""

import asyncio
import logging
import random as randomness
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from prometheus_client import Counter, Gauge

from chassis.errors import Retry
from contracts.errors import ErrorCode
from drivers.circuit import Circuit
from drivers.pace import Pace

_LOG = logging.getLogger(__name__)
_HELD = Gauge("hostler_cloud_permits", "Calls that are let through.", ["account", "lane"])
_WAITING = Gauge("hostler_cloud_waiting", "Calls that wait their turn.", ["account", "lane"])
_PAUSES = Counter("hostler_cloud_pauses", "Times that a cloud asked for one.", ["account"])
_REFUSED = Counter("hostler_cloud_held_back", "Calls that were not sent.", ["account", "lane"])

_SWEEP_PAUSE = 2.0
"""Sweeps rest that many times as long, so that commands have the cloud to themselves first."""
_SWEEP_TURN = 10
"""So many permits of commands in a row, then one for a sweep that waits: it sees them settled."""
_UNSAID_FIRST, _UNSAID_LONGEST = 1.0, 30.0
"""Seconds of a pause whose length the cloud does not say; it doubles from one to the next."""


class Lane(StrEnum):
    """Whose sake a call is made for: COMMAND goes before SWEEP."""

    COMMAND = "command"
    SWEEP = "sweep"


@dataclass(frozen=True)
class Limits:
    """What one account may do at a time; `sweeps` of the `concurrency` at most are sweeps'.

    `rate` calls a second, of which `sweep_rate` sweeps'; None: as many as go.

    The circuit opens after `failures` without an answer in a row, for `rest` to `longest_rest`
    seconds.
    """

    concurrency: int = 16
    sweeps: int = 4
    rate: float | None = None
    sweep_rate: float | None = None
    burst: int = 50
    failures: int = 5
    rest: float = 5.0
    longest_rest: float = 120.0


class Permit:
    """One call that was let through; it tells what came of it, once."""

    def __init__(self, governor: "Governor", *, trial: bool) -> None:
        self._governor = governor
        self.trial = trial
        self.told = False

    def answered(self) -> None:
        """The cloud answered, with whatever."""
        self.told = True
        self._governor.answered(self)

    def failed(self) -> None:
        """No answer, or one that says that the cloud is broken (5xx)."""
        self.told = True
        self._governor.failed(self)

    def told_to_wait(self, after: timedelta | None) -> None:
        """The cloud answered that it wants a pause; None: it does not say how long."""
        self.told = True
        self._governor.told_to_wait(self, after)


class Governor:
    """One per account and process, for one event loop."""

    def __init__(
        self,
        account: str,
        limits: Limits,
        *,
        now: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self._account, self._limits, self._now, self._random = account, limits, now, random
        self._pace = Pace(limits.rate, limits.burst, now)
        self._sweep_pace = Pace(limits.sweep_rate, limits.burst, now)
        self._circuit = Circuit(
            account,
            failures=limits.failures,
            first=limits.rest,
            longest=limits.longest_rest,
            now=now,
            random=random,
        )
        self._waiting: dict[Lane, deque[asyncio.Future[None]]] = {each: deque() for each in Lane}
        self._held = dict.fromkeys(Lane, 0)
        self._paused = dict.fromkeys(Lane, 0.0)
        self._unsaid = 0
        self._in_a_row = 0
        self._timer: asyncio.TimerHandle | None = None
        self._shown = {
            lane: (_HELD.labels(account, lane), _WAITING.labels(account, lane)) for lane in Lane
        }

    @asynccontextmanager
    async def permit(self, lane: Lane) -> AsyncGenerator[Permit]:
        """Wait for a turn. `Retry`, not uncertain, where the account rests: nothing was sent."""
        self._check(lane)
        permit = Permit(self, trial=self._circuit.enter())
        try:
            await self._turn(lane)
            try:
                yield permit
            finally:
                self._release(lane)
        finally:
            if permit.trial and not permit.told:
                self._circuit.left()

    def rests_until(self) -> datetime | None:
        """Until when (UTC) commands are refused; None if they are not."""
        wait = max(self._paused[Lane.COMMAND] - self._now(), self._circuit.wait())
        return datetime.now(UTC) + timedelta(seconds=wait) if wait > 0 else None

    def answered(self, permit: Permit) -> None:
        """See `Permit`."""
        self._unsaid = 0
        self._circuit.answered(trial=permit.trial)

    def failed(self, permit: Permit) -> None:
        """See `Permit`."""
        if self._circuit.failed(trial=permit.trial):
            self._turn_away()

    def told_to_wait(self, permit: Permit, after: timedelta | None) -> None:
        """See `Permit`. All calls are refused for that long, sweeps' for longer."""
        self._circuit.answered(trial=permit.trial)
        now = self._now()
        if after is None and self._paused[Lane.COMMAND] > now:
            return  # several calls heard the same
        seconds = self._unsaid_pause() if after is None else after.total_seconds()
        if now + seconds <= self._paused[Lane.COMMAND]:
            return
        self._paused[Lane.COMMAND] = now + seconds
        self._paused[Lane.SWEEP] = now + seconds * _SWEEP_PAUSE
        _PAUSES.labels(self._account).inc()
        _LOG.warning("%s asks for a pause: none is asked for %.1f s", self._account, seconds)
        self._turn_away()

    def _unsaid_pause(self) -> float:
        seconds = min(_UNSAID_FIRST * 2.0**self._unsaid, _UNSAID_LONGEST)
        self._unsaid = min(self._unsaid + 1, 16)
        return seconds * (0.5 + self._random())

    def _refusal(self, lane: Lane) -> Retry | None:
        paused = self._paused[lane] - self._now()
        if paused > 0:
            after = timedelta(seconds=paused)
            return Retry(ErrorCode.CLOUD_BUSY, "The cloud asked for a pause.", after=after)
        silent = self._circuit.wait()
        if silent > 0:
            after, said = timedelta(seconds=silent), "The cloud has not answered for a while."
            return Retry(ErrorCode.CLOUD_UNAVAILABLE, said, after=after)
        return None

    def _check(self, lane: Lane) -> None:
        refusal = self._refusal(lane)
        if refusal is not None:
            _REFUSED.labels(self._account, lane).inc()
            raise refusal

    def _turn_away(self) -> None:
        """Refuse those who wait: the account rests from now on."""
        for lane, waiting in self._waiting.items():
            refusal = self._refusal(lane)
            while waiting and refusal is not None:
                future = waiting.popleft()
                if not future.done():
                    _REFUSED.labels(self._account, lane).inc()
                    future.set_exception(self._refusal(lane) or refusal)
        self._show()

    async def _turn(self, lane: Lane) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting[lane].append(future)
        self._grant()
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                self._release(lane)  # it was let through just now
            elif future in self._waiting[lane]:
                self._waiting[lane].remove(future)
            self._show()
            raise

    def _release(self, lane: Lane) -> None:
        self._held[lane] -= 1
        self._grant()

    def _grant(self) -> None:
        """Let through whoever may go; come back when the pace allows the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (lane := self._next()) is not None:
            wait = max(self._pace.wait(), self._wait_as(lane))
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(wait, self._grant)
                break
            future = self._waiting[lane].popleft()
            if not future.done():
                self._take(lane)
                self._held[lane] += 1
                future.set_result(None)
        self._show()

    def _take(self, lane: Lane) -> None:
        self._pace.take()
        if lane is Lane.SWEEP:
            self._sweep_pace.take()
        self._in_a_row = self._in_a_row + 1 if lane is Lane.COMMAND else 0

    def _wait_as(self, lane: Lane) -> float:
        """Seconds until the lane's own pace allows the next call."""
        return self._sweep_pace.wait() if lane is Lane.SWEEP else 0.0

    def _next(self) -> Lane | None:
        """The lane whose turn it is; None if nobody waits or all permits are out."""
        if sum(self._held.values()) >= self._limits.concurrency:
            return None
        sweep_may = self._waiting[Lane.SWEEP] and self._held[Lane.SWEEP] < self._limits.sweeps
        its_turn = self._in_a_row >= _SWEEP_TURN and not self._wait_as(Lane.SWEEP)
        if sweep_may and (its_turn or not self._waiting[Lane.COMMAND]):
            return Lane.SWEEP
        return Lane.COMMAND if self._waiting[Lane.COMMAND] else None

    def _show(self) -> None:
        for lane, (held, waiting) in self._shown.items():
            held.set(self._held[lane])
            waiting.set(len(self._waiting[lane]))
