"""Puts sync together: a sweeper, a catalog and an inventory per account, and what it hears."""

from collections.abc import Callable
from datetime import timedelta

from pydantic import SecretStr

from chassis.leases import Clock
from chassis.service import Service
from contracts.message import utc_now
from contracts.topics import VM_EVENTS
from drivers import registry
from drivers.base import Driver
from services.sync.catalog import Catalog
from services.sync.clouds import Clouds
from services.sync.handlers import Handlers
from services.sync.health import SweptProbe
from services.sync.hearsay import read
from services.sync.inventory import Inventory
from services.sync.notifications import Notifications
from services.sync.patience import Promptness
from services.sync.settings import SyncSettings
from services.sync.sweep import Sweeper
from services.sync.watching import Watching


class SyncService(Service):
    """Sync, with what it keeps by account."""

    def __init__(
        self, settings: SyncSettings, drivers: Callable[[str], Driver], *, clock: Clock
    ) -> None:
        super().__init__("sync", settings, clock=clock)
        self.clock = self.shared_clock  # what one replica notes as due, another may have to do
        clouds = Clouds(drivers)
        self.background("drivers", clouds.keep)
        self.promptness = Promptness(timedelta(seconds=settings.explain_seconds))
        self.sweepers: dict[str, Sweeper] = {}
        self.catalogs: dict[str, Catalog] = {}
        self.inventories: dict[str, Inventory] = {}
        for name in settings.accounts:
            self._watch(name, clouds.of(name), settings)
        self.consume_read(VM_EVENTS, read, self._handlers(settings).on_vm_events)

    def _watch(self, name: str, driver: Callable[[], Driver], settings: SyncSettings) -> None:
        def watching(what: str) -> Watching:
            return Watching(name, driver, self.lease(f"{what}:{name}"), settings, self.clock)

        sweeper, catalog = Sweeper(watching("sweep"), self.promptness), Catalog(watching("catalog"))
        inventory = Inventory(watching("inventory"))
        self.sweepers[name], self.catalogs[name] = sweeper, catalog
        self.inventories[name] = inventory
        self.background(f"sweep:{name}", sweeper.run)
        self.background(f"catalog:{name}", catalog.run)
        self.background(f"inventory:{name}", inventory.run)
        self.check(f"cloud:{name}", SweptProbe(self.database, name, self.clock), required=False)
        if name in settings.notifications:
            self._listen(sweeper, settings.notifications[name])

    def _listen(self, sweeper: Sweeper, url: SecretStr) -> None:
        notifications = Notifications(sweeper, url)
        self.background(f"notifications:{sweeper.account}", notifications.run)
        self.check(f"notifications:{sweeper.account}", notifications.probe, required=False)

    def _handlers(self, settings: SyncSettings) -> Handlers:
        return Handlers(settings, self.clock, self._wake, self.promptness)

    def _wake(self, account: str) -> None:
        if account in self.sweepers:
            self.sweepers[account].wake.set()


def build(
    settings: SyncSettings | None = None,
    *,
    clock: Clock = utc_now,
    drivers: Callable[[str], Driver] | None = None,
) -> SyncService:
    """Sync, not yet running. `drivers` gives each account's driver in place of the registry."""
    chosen = settings or SyncSettings()
    registry.require(chosen.driver)
    return SyncService(
        chosen,
        drivers or (lambda account: registry.driver(chosen.driver, account)),
        clock=clock,
    )
