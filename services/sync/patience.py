"""Patience with a change that no operation explains yet: it may only have been faster than Kafka.

The provisioner says that it starts and then asks the cloud; the cloud's change can be seen here
before that message is. So an unexplained change is left for a later sweep, and is external if by
then still nothing explains it. Nothing is written of it meanwhile, and the account's clock goes no
further than to the oldest change that is left, so that the next sweep shows it again.
"""

from collections.abc import Container
from datetime import datetime, timedelta
from uuid import UUID

from services.sync.recording import Sightings

LEAST = timedelta(seconds=0.4)
REMEMBERED = timedelta(minutes=1)


class Promptness:
    """How late messages about operations come, which is how long it is worth to wait for one."""

    def __init__(self, most: timedelta) -> None:
        self.most = most
        self._worst = timedelta()
        self._until: datetime | None = None

    def heard(self, said_at: datetime, now: datetime) -> None:
        """One that was said at `said_at` has come."""
        late = now - said_at
        if self._until is None or now >= self._until or late >= self._worst:
            self._worst, self._until = late, now + REMEMBERED

    def grace(self, now: datetime) -> timedelta:
        """Twice as long as the latest one of late took, and a little."""
        recent = self._until is not None and now < self._until
        return min(self.most, LEAST + 2 * self._worst if recent else LEAST)


class Patience:
    """Which VMs of an account show a change that is being waited with, and since when."""

    def __init__(self, promptness: Promptness) -> None:
        self.promptness = promptness
        self._since: dict[UUID, datetime] = {}
        self._left: dict[UUID, datetime] = {}
        self._changed: list[datetime | None] = []
        """By the cloud's clock, as far as it tells, when what is left changed."""

    @property
    def waiting(self) -> bool:
        """Whether the sweep that was begun last left anything for a later one."""
        return bool(self._left)

    def ends_at(self, now: datetime) -> datetime | None:
        """When the first change that is waited with is ripe; None if there is none."""
        return min(self._left.values()) + self.promptness.grace(now) if self._left else None

    def begin(self) -> None:
        """A new sweep: what it does not show any more is waited with no longer."""
        self._since, self._left, self._changed = self._left, {}, []

    def reach(self, asked: datetime, at: datetime) -> datetime:
        """From when the next sweep must ask: the clock of this one, or what it left lies before.

        `asked` is from when this one did. Only what is left holds the clock back, however much
        else goes on changing: it is ripe in a moment.
        """
        oldest = min((time or asked for time in self._changed), default=at)
        return min(at, max(asked, oldest))

    def ripe(self, found: Sightings, watched: Container[UUID], now: datetime) -> Sightings:
        """What is to be written now: what an operation explains, and what nothing did in time."""
        unexplained = {
            vm_id: self._since.get(vm_id, now) for vm_id in found if vm_id not in watched
        }
        grace = self.promptness.grace(now)
        left = {i: since for i, since in unexplained.items() if now - since < grace}
        self._left |= left
        self._changed += [each.snapshot.updated_at for i in left for each in found[i]]
        return {vm_id: seen for vm_id, seen in found.items() if vm_id not in self._left}


def old_news(found: Sightings, before: datetime) -> Sightings:
    """What a list of everything shows that no list of changes will show again."""
    return {
        vm_id: seen
        for vm_id, seen in found.items()
        if all((each.snapshot.updated_at or before) <= before for each in seen)
    }
