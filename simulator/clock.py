"""Time as the simulated cloud sees it: one clock, which a test may turn by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """Where the cloud reads the time."""

    def now(self) -> float:
        """Seconds since the epoch, never going back."""
        ...


class WallClock:
    """The time of the machine, kept from going back."""

    def __init__(self) -> None:
        self._last = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        self._last = max(self._last, time.time())
        return self._last


class HandClock:
    """A clock that stands still until it is turned."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def turn(self, seconds: float) -> None:
        """Let that much time pass."""
        self._now += seconds


def zulu(at: float) -> str:
    """`2026-11-23T00:43:50Z`: OpenStack keeps whole seconds and cuts, never rounds."""
    return _second(int(at)) + "Z"


def micros(at: float) -> str:
    """`2026-11-23T00:43:50.000000`: the form of launched_at and of instance actions."""
    return _second(int(at)) + ".000000"


@lru_cache(maxsize=4096)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse(text: str) -> float:
    """An ISO 8601 time as seconds; one without an offset is UTC. ValueError if it is none."""
    moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
