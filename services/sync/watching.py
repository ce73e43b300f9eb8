"""What everyone who watches an account is given: which one, the way to it, and the rules."""

from collections.abc import Callable
from dataclasses import dataclass

from chassis.database import Database
from chassis.leases import Clock, NamedLease
from drivers.base import Driver
from services.sync.settings import SyncSettings


@dataclass(frozen=True)
class Watching:
    """One account, watched by whoever holds `lease`; every replica has one of its own."""

    account: str
    driver: Callable[[], Driver]
    lease: NamedLease
    settings: SyncSettings
    clock: Clock

    @property
    def database(self) -> Database:
        """Where what is known is kept."""
        return self.lease.database

    @property
    def projects(self) -> frozenset[str]:
        """The projects whose VMs live in the account."""
        return frozenset(
            p for p, account in self.settings.projects.items() if account == self.account
        )
