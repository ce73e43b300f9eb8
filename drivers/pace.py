"""So many calls a second and no more: a bucket of tokens that fills by itself."""

from collections.abc import Callable

_ROUNDING = 1e-6


class Pace:
    """`rate` calls a second, `burst` at once after a rest; no rate: no limit. Seconds of `now`."""

    def __init__(self, rate: float | None, burst: int, now: Callable[[], float]) -> None:
        self._rate, self._burst, self._now = rate, float(burst), now
        self._tokens = self._burst
        self._at = now()

    def wait(self) -> float:
        """Seconds until the next call; 0 if it may go now."""
        if self._rate is None:
            return 0.0
        now = self._now()
        self._tokens = min(self._tokens + (now - self._at) * self._rate, self._burst)
        self._at = now
        missing = 1.0 - self._tokens
        return missing / self._rate if missing > _ROUNDING else 0.0

    def take(self) -> None:
        """One call goes."""
        self._tokens -= 1.0
