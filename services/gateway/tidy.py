"""Forgetting what is kept for a while: events, idempotency keys, nonces, orphans that are gone."""

import asyncio
from datetime import datetime, timedelta

from sqlalchemy import delete

from chassis.database import Database
from chassis.leases import Clock
from services.gateway.identity.request_keys import forget_nonces
from services.gateway.inventory import forget_gone
from services.gateway.tables import EVENTS, IDEMPOTENCY_KEYS

EVERY_SECONDS = 60.0
GONE_EVERY = timedelta(hours=1)
"""Seldom, as it reads the two tables whole: what is gone is little of them."""


class Tidy:
    """Runs in every replica: to delete what is gone already does no harm."""

    def __init__(
        self, database: Database, clock: Clock, events: timedelta, keys: timedelta
    ) -> None:
        self.database = database
        self.clock = clock
        self.events = events
        self.keys = keys
        self._gone_due: datetime | None = None

    async def run(self) -> None:
        """Forget, now and then."""
        while True:
            await self.forget()
            await asyncio.sleep(EVERY_SECONDS)

    async def forget(self) -> None:
        """Drop what is older than it is kept."""
        now = self.clock()
        async with self.database.session() as session:
            await session.execute(delete(EVENTS).where(EVENTS.c.kept_at < now - self.events))
            old = IDEMPOTENCY_KEYS.c.created_at < now - self.keys
            await session.execute(delete(IDEMPOTENCY_KEYS).where(old))
            await forget_nonces(session, now)
            if self._gone_due is None or now >= self._gone_due:
                await forget_gone(session, now - self.events)
                self._gone_due = now + GONE_EVERY
