"""Patience with a change that no operation explains yet: it may only have been faster than Kafka.

The provisioner says that it starts and then asks the cloud; the cloud's change can be seen here
before that message is. So an unexplained change is left for a later sweep, and is external if by
then still nothing explains it. Nothing is written of it meanwhile, and the account's clock stands.
"""

from collections.abc import Container
from datetime import datetime, timedelta
from uuid import UUID

from services.sync.recording import Sightings


class Patience:
    """Which VMs of an account show a change that is being waited with, and since when."""

    def __init__(self, grace: timedelta) -> None:
        self.grace = grace
        self._since: dict[UUID, datetime] = {}
        self._left: dict[UUID, datetime] = {}

    @property
    def waiting(self) -> bool:
        """Whether the sweep that was begun last left anything for a later one."""
        return bool(self._left)

    def begin(self) -> None:
        """A new sweep: what it does not show any more is waited with no longer."""
        self._since, self._left = self._left, {}

    def ripe(self, found: Sightings, watched: Container[UUID], now: datetime) -> Sightings:
        """What is to be written now: what an operation explains, and what nothing did in time."""
        unexplained = {
            vm_id: self._since.get(vm_id, now) for vm_id in found if vm_id not in watched
        }
        self._left |= {i: since for i, since in unexplained.items() if now - since < self.grace}
        return {vm_id: seen for vm_id, seen in found.items() if vm_id not in self._left}


def old_news(found: Sightings, before: datetime) -> Sightings:
    """What a list of everything shows that no list of changes will show again."""
    return {
        vm_id: seen
        for vm_id, seen in found.items()
        if all((each.snapshot.updated_at or before) <= before for each in seen)
    }
