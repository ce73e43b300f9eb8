"""Rounds of work that repeat: under load fewer and larger ones, in quiet times at once."""

import asyncio
import time
from types import TracebackType


class Rounds:
    """Around each round: afterwards it rests for as long as the round took, `longest` s at most.

    What comes meanwhile shares the next round, and its transactions. So the rate of rounds, which
    each cost the same few statements, falls as the machine gets busy, and what one round does grows
    instead. Where there is little to do a round takes milliseconds, and so does the rest.
    """

    def __init__(self, longest: float = 0.1) -> None:
        self.longest = longest
        self._began = 0.0
        self._full = False

    def full(self) -> None:
        """Have this round, which did all that one may, not rested after: the next is as large."""
        self._full = True

    async def __aenter__(self) -> None:
        """A round begins."""
        self._full = False
        self._began = time.monotonic()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """It is over; one that failed, or was full, is not rested after."""
        if error is None and not self._full:
            await asyncio.sleep(min(self.longest, time.monotonic() - self._began))
