"""What goes wrong when: drawn from the seed alone, before the run begins."""

import random
from dataclasses import dataclass
from enum import StrEnum

from deploy.local.stack import SERVICES

GAP_SECONDS = 4.0
"""Between two mishaps, on average."""


class Kind(StrEnum):
    """A way in which things go wrong; `mishaps.py` does them."""

    KILL = "service killed"
    KILL_ALL = "both processes of a service killed"
    PAUSE = "service paused"
    CLOCK = "clock moved"
    KAFKA_KILLED = "kafka killed"
    KAFKA_STOPPED = "kafka stopped"
    POSTGRES_KILLED = "postgres killed"
    POSTGRES_STOPPED = "postgres stopped"
    CLOUD_STOPPED = "cloud stopped"
    LOST_AFTER = "answer lost after the effect"
    LOST_BEFORE = "request lost before the effect"
    BUSY = "429 with Retry-After"
    UNAVAILABLE = "503"
    SLOW = "slow answers"
    BAD_BUILD = "build fails"
    HANGING_BUILD = "build hangs"
    SLOW_BUILD = "build takes long"
    VANISH = "server vanishes"
    DELETED = "server deleted from outside"
    STOPPED = "server stopped from outside"
    RENAMED = "server renamed from outside"
    TOKENS = "tokens expire"
    QUOTA = "quota used up"
    REPEAT = "old records published again"
    REWIND = "offsets set back"
    POISON = "poison published"


WEIGHTS = {
    Kind.KILL: 6,
    Kind.KILL_ALL: 1,
    Kind.PAUSE: 3,
    Kind.CLOCK: 2,
    Kind.KAFKA_KILLED: 1,
    Kind.KAFKA_STOPPED: 1,
    Kind.POSTGRES_KILLED: 1,
    Kind.POSTGRES_STOPPED: 1,
    Kind.CLOUD_STOPPED: 1,
    Kind.LOST_AFTER: 3,
    Kind.LOST_BEFORE: 2,
    Kind.BUSY: 2,
    Kind.UNAVAILABLE: 2,
    Kind.SLOW: 2,
    Kind.BAD_BUILD: 2,
    Kind.HANGING_BUILD: 1,
    Kind.SLOW_BUILD: 1,
    Kind.VANISH: 1,
    Kind.DELETED: 1,
    Kind.STOPPED: 2,
    Kind.RENAMED: 2,
    Kind.TOKENS: 1,
    Kind.QUOTA: 1,
    Kind.REPEAT: 3,
    Kind.REWIND: 2,
    Kind.POISON: 1,
}
_LASTS = {
    Kind.KILL: (0.2, 6.0),
    Kind.KILL_ALL: (0.2, 6.0),
    Kind.PAUSE: (2.0, 14.0),
    Kind.CLOCK: (5.0, 30.0),
    Kind.KAFKA_KILLED: (1.0, 10.0),
    Kind.KAFKA_STOPPED: (1.0, 10.0),
    Kind.POSTGRES_KILLED: (0.5, 8.0),
    Kind.POSTGRES_STOPPED: (0.5, 8.0),
    Kind.CLOUD_STOPPED: (1.0, 8.0),
    Kind.SLOW: (0.5, 7.0),
    Kind.SLOW_BUILD: (3.0, 12.0),
    Kind.QUOTA: (4.0, 12.0),
}


@dataclass(frozen=True)
class Mishap:
    """One thing that goes wrong; `dice` is the seed of what it chooses when its time has come."""

    at: float
    kind: Kind
    service: str
    replica: int
    seconds: float
    dice: int

    @property
    def part(self) -> str:
        """The process that it befalls, where it befalls one."""
        return self.service if self.replica == 1 else f"{self.service}.{self.replica}"

    def __str__(self) -> str:
        return f"{self.kind} ({self.part}, {self.seconds:.1f} s)"


def plan(seed: int, seconds: float, replicas: int = 2) -> list[Mishap]:
    """The mishaps of a run in order: the same for the same seed and length."""
    dice = random.Random(f"plan/{seed}")
    found: list[Mishap] = []
    at = 3.0
    while (at := at + dice.expovariate(1 / GAP_SECONDS)) < seconds:
        (kind,) = dice.choices([*WEIGHTS], [*WEIGHTS.values()])
        low, high = _LASTS.get(kind, (0.0, 0.0))
        found.append(
            Mishap(
                at=at,
                kind=kind,
                service=dice.choice(SERVICES),
                replica=dice.randint(1, replicas),
                seconds=dice.uniform(low, high),
                dice=dice.getrandbits(32),
            )
        )
    return found
