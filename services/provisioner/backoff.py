"""How long to wait before the next attempt: exponential, capped, with full jitter."""

from collections.abc import Callable
from datetime import timedelta

_MOST_DOUBLINGS = 20


def backoff(
    attempt: int, base: timedelta, cap: timedelta, random: Callable[[], float]
) -> timedelta:
    """A random part of `base`, doubled with every attempt (from 1) until it reaches `cap`."""
    ceiling = min(cap, base * 2 ** min(attempt - 1, _MOST_DOUBLINGS))
    return ceiling * random()
