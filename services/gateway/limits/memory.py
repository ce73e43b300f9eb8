"""Rates counted in this process: a storage for `limits`, bounded, that the clock can turn.

The library's own looks through all its keys at every hit, which a caller with many addresses
could make expensive, and reads the machine's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from limits.aio.storage import MemoryStorage

from chassis.leases import Clock
from services.gateway.limits.policies import Counted, Window

MOST_KEYS = 100_000
SWEEP_SECONDS = 10.0


@dataclass(slots=True)
class _Window:
    """Counts of the window with this number, and of the one before it."""

    number: int
    until: float
    now: int = 0
    before: int = 0


class Memory(MemoryStorage):
    """Sliding windows by two counts each; of more than `MOST_KEYS` the oldest are forgotten."""

    STORAGE_SCHEME = ["async+hostler-memory"]  # noqa: RUF012 - as the base class has it

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[str, _Window] = {}
        self._sweep_at = 0.0

    async def ask(
        self, taken: Sequence[Counted], looked: Sequence[Counted]
    ) -> tuple[list[bool], list[Window]]:
        """Count one request against each of `taken`, then look at each of `looked`."""
        took = [
            self._take(each.key, each.policy.item.amount, each.policy.item.get_expiry())
            for each in taken
        ]
        return took, [self._look(each.key, each.policy.item.get_expiry()) for each in looked]

    async def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Count `amount` unless the rate is used up; whether it was counted."""
        return self._take(key, limit, expiry, amount)

    async def get_sliding_window(self, key: str, expiry: int) -> Window:
        """Counts of the window before and of this one, each with the seconds it still matters."""
        return self._look(key, expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget a key."""
        self._windows.pop(key, None)

    # The library wraps each method of a storage, and awaits it: more than there is to do.
    def _take(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        window, left = self._window(key, expiry)
        if int(window.before * left / expiry) + window.now + amount > limit:
            return False
        window.now += amount
        return True

    def _look(self, key: str, expiry: int) -> Window:
        window, left = self._window(key, expiry)
        return window.before, left if window.before else 0.0, window.now, left + expiry

    def _window(self, key: str, expiry: int) -> tuple[_Window, float]:
        """The key's window as of now, and how many seconds of it are left."""
        now = self._clock().timestamp()
        number = int(now // expiry)
        window = self._windows.get(key)
        if window is None:
            self._make_room(now)
            window = self._windows[key] = _Window(number, 0.0)
        elif window.number != number:
            window.before = window.now if window.number == number - 1 else 0
            window.number, window.now = number, 0
        window.until = (number + 2) * expiry
        return window, (number + 1) * expiry - now

    def _make_room(self, now: float) -> None:
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_SECONDS
            self._windows = {k: w for k, w in self._windows.items() if w.until > now}
        if len(self._windows) >= MOST_KEYS:
            del self._windows[next(iter(self._windows))]
