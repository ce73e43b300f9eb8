"""Leases: who may do what only one may do at a time, until when. A killed holder's lease runs out."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, changed, insert
from chassis.ids import new_id
from chassis.tables import LEASES

Clock = Callable[[], datetime]


class LeaseLostError(RuntimeError):
    """Another process holds the lease by now, or may: what only its holder may do ends here."""


class NamedLease:
    """A right that one process holds at a time, e.g. to relay a service's outbox."""

    def __init__(self, database: Database, name: str, clock: Clock, ttl: timedelta) -> None:
        self.database = database
        self.name = name
        self.clock = clock
        self.ttl = ttl
        self.token = new_id()
        self._until: datetime | None = None

    async def hold(self) -> bool:
        """Take or renew it; False while another one holds it, or if taking it took all its time.

        Asks the database only once half of the time has passed since it was last renewed.
        """
        now = self.clock()
        if self._until is not None and now < self._until - self.ttl / 2:
            return True
        async with self.database.session() as session:
            held = await self._take(session, now)
        self._until = now + self.ttl if held else None
        return held and self.clock() < now + self.ttl

    async def require(self) -> None:
        """As `hold`; LeaseLostError where that is False. For every step of what may take long."""
        if not await self.hold():
            raise LeaseLostError(self.name)

    async def _take(self, session: AsyncSession, now: datetime) -> bool:
        values = {"token": self.token, "until": now + self.ttl}
        row = insert(session, LEASES).values(name=self.name, **values)
        mine = (LEASES.c.token == self.token) | (LEASES.c.until < now)
        row = row.on_conflict_do_update(index_elements=["name"], set_=values, where=mine)
        return await changed(session, row) == 1

    async def release(self) -> None:
        """Give it back, so that another one need not wait until it runs out."""
        self._until = None
        mine = (LEASES.c.name == self.name) & (LEASES.c.token == self.token)
        async with self.database.session() as session:
            await session.execute(delete(LEASES).where(mine))
