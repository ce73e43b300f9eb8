"""How long to wait before the next attempt: exponential, capped, with jitter above a floor."""

from collections.abc import Callable
from datetime import timedelta

_MOST_DOUBLINGS = 20
_FLOOR = 0.1
"""The part of `base` that is waited at least: chance never makes it nothing."""


def backoff(
    attempt: int, base: timedelta, cap: timedelta, random: Callable[[], float]
) -> timedelta:
    """A random part of `base`, doubled with every attempt (from 1) until it reaches `cap`."""
    ceiling = min(cap, base * 2 ** min(attempt - 1, _MOST_DOUBLINGS))
    return max(base * _FLOOR, ceiling * random())
