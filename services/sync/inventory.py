"""Lists everything in an account now and then, to find what no VM has any more."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from datetime import timedelta

from sqlalchemy import update

from chassis.database import insert
from chassis.errors import HostlerError, Retry
from chassis.leases import LeaseLostError
from contracts.inventory.events import ResourceKind
from contracts.vm.states import VmState
from drivers.base import Glanced, Inventories, Looked, Seen
from services.sync import metrics
from services.sync.ahead import ahead
from services.sync.giving_way import may_list
from services.sync.holding import guarded, while_held
from services.sync.listing import listed
from services.sync.orphans import Suspect, compare
from services.sync.portions import portions
from services.sync.suspicion import owned_servers, suspect_resources, suspect_servers
from services.sync.tables import ACCOUNTS, Account
from services.sync.watching import Watching

LOG = logging.getLogger(__name__)
POLL_SECONDS = 1.0
RETRY_SECONDS = 30.0
_RESOURCES: tuple[ResourceKind, ...] = ("port", "volume", "floating_ip")


class Inventory:
    """One account's orphans. Runs in every replica; the lease, which is its own, lets one work.

    Nothing is removed here. A list that breaks off says nothing, not even that something is gone.
    """

    def __init__(self, watching: Watching) -> None:
        self.watching = watching
        self.account = watching.account
        self.lease = watching.lease
        self.interval = watching.settings.inventory_interval_seconds

    async def run(self) -> None:
        """List whenever it is time, for ever."""
        try:
            while True:
                if await self.lease.hold() and await self._is_due():
                    await while_held(self.lease, self.list_once())
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await self.lease.release()

    async def list_once(self) -> bool:
        """List now and say which orphans are found or gone; whether the lists were complete."""
        if not await self.lease.hold():
            return False
        failure = None
        try:
            try:
                await self._resources(await self._servers())
            except HostlerError as error:
                LOG.warning("the inventory of %s is incomplete: %s", self.account, error)
                failure = error
            await self._plan(failure)
        except LeaseLostError:
            return False
        return failure is None

    async def _is_due(self) -> bool:
        async with self.watching.database.reading() as session:
            account = await session.get(Account, self.account)
        due = account.next_inventory_at if account else None
        return may_list(account, due, timedelta(seconds=self.interval), self.watching.clock())

    async def _servers(self) -> set[str]:
        """Compare the servers; the ids of those that are there."""
        there: set[str] = set()
        suspects: list[Suspect] = []
        async with self.watching.database.reading() as session:
            owned = await owned_servers(session, self.watching)
        async for page in listed(self.watching, None, _unknown):
            for servers in portions(_read(page, owned, there)):
                living = [s for s in servers if s.snapshot.state is not VmState.DELETED]
                there.update(s.snapshot.server_id or "" for s in living)
                async with self.watching.database.reading() as session:
                    suspects += await suspect_servers(session, self.watching, living)
        await compare(self.watching, ("server",), suspects)
        return there

    async def _resources(self, there: set[str]) -> None:
        driver = self.watching.driver()
        if not isinstance(driver, Inventories):
            return
        suspects: list[Suspect] = []
        async for page in ahead(driver.inventory()):
            for resources in portions(page):
                async with self.watching.database.reading() as session:
                    suspects += await suspect_resources(session, self.watching, resources, there)
        await compare(self.watching, _RESOURCES, suspects)

    async def _plan(self, failure: HostlerError | None) -> None:
        """When to list again: at the interval, or sooner after a failure."""
        metrics.INVENTORIES.labels(self.account, "failed" if failure else "complete").inc()
        seconds = min(RETRY_SECONDS, self.interval) if failure else self.interval
        asked = failure.after if isinstance(failure, Retry) else None
        due = self.watching.clock() + (asked or timedelta(seconds=seconds))
        async with guarded(self.lease) as session:
            new = {"account": self.account, "failures": 0, "error": ""}
            await session.execute(insert(session, ACCOUNTS).values(new).on_conflict_do_nothing())
            mine = Account.account == self.account
            await session.execute(update(Account).where(mine).values(next_inventory_at=due))


def _unknown(_server_id: str) -> None:
    """Nothing is remembered from one list to the next: they are minutes apart."""


def _read(page: Looked | Glanced, owned: Collection[str], there: set[str]) -> Sequence[Seen]:
    """The servers of a page, but for those of living VMs that need not be read to be `there`."""
    if isinstance(page, Looked):
        return page.servers
    there.update(g.server_id for g in page.servers if g.server_id in owned)
    read = (g.read() for g in page.servers if g.server_id not in owned)
    return [seen for seen in read if seen is not None]
