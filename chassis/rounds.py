"""Rounds of work that repeat: under load fewer and larger ones, in quiet times at once."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType

GOOD_PART = 0.1


class Rounds:
    """Around each round: whoever has worked more than it paused rests afterwards.

    A loop may work for `grace` s in a row. Beyond that each round is followed by a rest as long as
    the round was, `longest` s at most, until pauses have made up for the work. So what comes alone
    never waits for a rest, and under load what comes meanwhile shares the next round and its
    transactions: the rate of rounds, which each cost the same few statements, falls as the machine
    gets busy, and what one round does grows instead.

    Where nobody waits for what a round does, rounds may also begin `pace` s apart at least: what
    comes alone is still taken at once, and what follows closely shares the next one. After a round
    that did a good part of what one may there is enough to do, and no pace.
    """

    def __init__(
        self,
        longest: float = 0.1,
        *,
        grace: float = 0.25,
        pace: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.longest = longest
        self.grace = grace
        self.pace = pace
        self._now = now
        self._began = self._ended = now()
        self._owed = 0.0
        """Seconds of work that no pause has made up for."""
        self._share = 0.0

    def filled(self, share: float) -> None:
        """How much of what one may do this round did; one that did all of it is not rested after."""
        self._share = share

    async def __aenter__(self) -> None:
        """A round begins."""
        self._share = 0.0
        self._began = self._now()
        self._owed = max(0.0, self._owed - (self._began - self._ended))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """It is over; one that failed is not rested after."""
        self._ended = self._now()
        self._owed += self._ended - self._began
        if error is None:
            await asyncio.sleep(self.rest())

    def rest(self) -> float:
        """Seconds to rest after the last round; 0 if it was full."""
        if self._share >= 1:
            return 0.0
        took = self._ended - self._began
        owed = min(self.longest, took) if self._owed > self.grace else 0.0
        return max(owed, self.pace - took if self._share < GOOD_PART else 0.0)
