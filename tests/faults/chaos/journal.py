"""The log of a run: what was done when, one line each, and how often."""

import threading
import time
from collections import Counter
from pathlib import Path


class Journal:
    """Safe from several threads; times are seconds since the run began."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("w", buffering=1)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.counts: Counter[str] = Counter()
        self.recoveries: dict[str, list[float]] = {}

    @property
    def now(self) -> float:
        return time.monotonic() - self._began

    def note(self, who: str, what: str, *, aloud: bool = False) -> None:
        """Write a line; `aloud`: on the terminal, too."""
        line = f"t+{self.now:7.2f} {who:<10} {what}"
        with self._lock:
            self._file.write(line + "\n")
        if aloud:
            print(line, flush=True)  # noqa: T201 - the run is followed on a terminal

    def count(self, what: str, times: int = 1) -> None:
        with self._lock:
            self.counts[what] += times

    def recovered(self, what: str, seconds: float) -> None:
        with self._lock:
            self.recoveries.setdefault(what, []).append(seconds)

    def close(self) -> None:
        self._file.close()
