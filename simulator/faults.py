"""Faults to order and the record of calls: what stands between a request and its service."""

from __future__ import annotations

import random
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["latency", "status", "drop"]
KEPT_CALLS = 50_000


@dataclass(slots=True)
class Fault:
    """One fault: which calls it meets, what it does, and how often.

    Of the calls that match, the first `after_calls` pass, then every `every`-th is met with
    `probability`, until `times` have been (None: without end). `when` is `before` the service
    sees the request, or `after` it has done its work: then only the answer is lost or wrong.
    """

    id: str
    kind: Kind
    when: Literal["before", "after"] = "before"
    service: str | None = None
    method: str | None = None
    path: re.Pattern[str] | None = None
    seconds: float = 0.0
    status: int = 503
    retry_after: int | None = None
    body: str | None = None
    times: int | None = 1
    every: int = 1
    after_calls: int = 0
    probability: float = 1.0
    dice: random.Random = field(default_factory=random.Random)
    seen: int = 0
    done: int = 0

    def meets(self, service: str, method: str, path: str) -> bool:
        """Whether this call is met; counts it."""
        if self.service not in {None, service} or self.method not in {None, method}:
            return False
        if self.path is not None and self.path.search(path) is None:
            return False
        if self.times is not None and self.done >= self.times:
            return False
        self.seen += 1
        turn = self.seen - self.after_calls
        if turn < 1 or turn % self.every or self.dice.random() >= self.probability:
            return False
        self.done += 1
        return True


class Faults:
    """The faults that are ordered, the oldest first."""

    def __init__(self) -> None:
        self._ordered: dict[str, Fault] = {}

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._ordered.values())

    def order(self, fault: Fault) -> None:
        """From now on."""
        self._ordered[fault.id] = fault

    def cancel(self, fault_id: str) -> bool:
        """No more; whether there was one."""
        return self._ordered.pop(fault_id, None) is not None

    def clear(self) -> None:
        """None any more."""
        self._ordered.clear()

    def meeting(self, service: str, method: str, path: str) -> Sequence[Fault]:
        """Those that meet this call."""
        if not self._ordered:
            return ()
        return [fault for fault in self if fault.meets(service, method, path)]


@dataclass(slots=True)
class ApiCall:
    """One call that was made; `status` 0 where no answer was sent."""

    at: float
    service: str
    method: str
    path: str
    template: str
    global_id: str | None
    request_id: str
    status: int
    seconds: float


class Calls:
    """The calls that were made: all counted, the latest listed."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.latest: deque[ApiCall] = deque(maxlen=KEPT_CALLS)

    def note(self, call: ApiCall) -> None:
        """One more."""
        self.counts[call.service, call.method, call.template] += 1
        self.latest.append(call)

    def clear(self) -> None:
        """As if none had been made."""
        self.counts.clear()
        self.latest.clear()
