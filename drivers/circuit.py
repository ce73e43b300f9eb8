"""Whether a cloud answers: after failures in a row nobody asks for a while, then one at a time."""

import logging
from collections.abc import Callable
from enum import IntEnum

from prometheus_client import Counter, Gauge

_LOG = logging.getLogger(__name__)
_STATE = Gauge("hostler_cloud_circuit", "0 closed, 1 one call is trying, 2 open.", ["account"])
_OPENED = Counter("hostler_cloud_circuit_opened", "How often it opened.", ["account"])
_TRIAL_SECONDS = 1.0
_JITTER = 0.2


class State(IntEnum):
    """CLOSED lets all through, TRIAL waits for what one call finds, OPEN lets none through."""

    CLOSED = 0
    TRIAL = 1
    OPEN = 2


class Circuit:
    """Opens after `failures` in a row, first for `first` seconds, each time for twice as long.

    Times are of `now`, seconds. What calls that were let through before it opened come to is of no
    account.
    """

    def __init__(
        self,
        account: str,
        *,
        failures: int,
        first: float,
        longest: float,
        now: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._account = account
        self._failures, self._first, self._longest = failures, first, longest
        self._now, self._random = now, random
        self._state = State.CLOSED
        self._failed = 0
        self._opened = 0
        self._until = 0.0
        _STATE.labels(account).set(State.CLOSED)

    def wait(self) -> float:
        """Seconds until a call may be let through; 0 if one may be now."""
        match self._state:
            case State.CLOSED:
                return 0.0
            case State.TRIAL:
                return _TRIAL_SECONDS
            case State.OPEN:
                return max(self._until - self._now(), 0.0)

    def enter(self) -> bool:
        """Let one through (`wait` is 0); whether it is the one that tries if the cloud is back."""
        if self._state is State.CLOSED:
            return False
        self._turn(State.TRIAL)
        return True

    def answered(self, *, trial: bool) -> None:
        """The cloud answered."""
        if trial or self._state is State.CLOSED:
            self._failed = self._opened = 0
        if trial:
            self._turn(State.CLOSED)
            _LOG.warning("%s answers again", self._account)

    def failed(self, *, trial: bool) -> bool:
        """It did not; whether this opens the circuit."""
        if not trial and self._state is not State.CLOSED:
            return False
        self._failed += 1
        if not trial and self._failed < self._failures:
            return False
        self._open()
        return True

    def left(self) -> None:
        """The one that tried was cancelled: the next may try."""
        self._turn(State.OPEN)

    def _open(self) -> None:
        seconds = min(self._first * 2**self._opened, self._longest)
        seconds *= 1 + _JITTER * self._random()
        self._opened = min(self._opened + 1, 32)
        self._until = self._now() + seconds
        self._turn(State.OPEN)
        _OPENED.labels(self._account).inc()
        words = "%s has not answered %s calls in a row; the next goes out in %.1f s"
        _LOG.warning(words, self._account, self._failed, seconds)

    def _turn(self, state: State) -> None:
        self._state = state
        _STATE.labels(self._account).set(state)
