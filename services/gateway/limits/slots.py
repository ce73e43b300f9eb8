"""Answers held open: how many long polls and streams one caller may have in this process."""

from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum

from prometheus_client import Counter as Metric

from chassis.problems import Refusal
from contracts.errors import ErrorCode

RETRY_SECONDS = 5
FULL = Metric("hostler_held_open_refused", "Long polls and streams refused for number.", ["kind"])


class Held(StrEnum):
    """Kinds of answers that are held open."""

    WAIT = "wait"
    STREAM = "stream"


class Slots:
    """Counts what is held open. Not shared: an answer is held open by one process only."""

    def __init__(self, most: Mapping[Held, int]) -> None:
        self._most = most
        self._held: Counter[tuple[Held, str]] = Counter()

    def take(self, kind: Held, who: str) -> Callable[[], None]:
        """What gives the slot back, once; a 429 when the caller has as many as it may."""
        slot = kind, who
        if self._held[slot] >= self._most[kind]:
            FULL.labels(kind).inc()
            sentence = f"{self._most[kind]} at a time is all that a caller may hold open ({kind})."
            after = {"Retry-After": str(RETRY_SECONDS)}
            raise Refusal(ErrorCode.RATE_LIMITED, sentence, headers=after)
        self._held[slot] += 1
        return lambda: self._give_back(slot)

    def _give_back(self, slot: tuple[Held, str]) -> None:
        self._held[slot] -= 1
        if self._held[slot] <= 0:
            del self._held[slot]
