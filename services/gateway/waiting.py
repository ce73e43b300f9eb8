"""Waiting for operations to end: however many requests wait, one query looks for all of them."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from chassis.among import among
from chassis.database import Database
from services.gateway.bell import Bell
from services.gateway.tables import OPERATIONS

POLL_SECONDS = 0.3


class Endings:
    """Tells who waits that an operation has ended, whichever replica heard of it."""

    def __init__(self, database: Database, bell: Bell, stopping: asyncio.Event) -> None:
        self.database = database
        self.bell = bell
        self.stopping = stopping
        self._told = Bell()
        self._waiting: Counter[UUID] = Counter()
        self._ended: set[UUID] = set()

    async def wait(self, operation_id: UUID, at_most: timedelta) -> None:
        """Return when the operation has ended, the time is over or the service stops.

        No connection to the database is held meanwhile.
        """
        self._waiting[operation_id] += 1
        self.bell.ring()
        try:
            async with asyncio.timeout(at_most.total_seconds()):
                while operation_id not in self._ended and not self.stopping.is_set():
                    await self._told.wait(1.0)
        except TimeoutError:
            pass
        finally:
            self._leave(operation_id)

    async def watch(self) -> None:
        """Look for the ends of what is waited for, all the while."""
        while True:
            if self._waiting:
                await self._look()
            await self.bell.wait(POLL_SECONDS)

    async def _look(self) -> None:
        ended = among(OPERATIONS.c.id, list(self._waiting)) & OPERATIONS.c.ended_at.is_not(None)
        async with self.database.reading() as session:
            found = await session.scalars(select(OPERATIONS.c.id).where(ended))
        self._ended |= set(found) & set(self._waiting)
        self._told.ring()

    def _leave(self, operation_id: UUID) -> None:
        self._waiting[operation_id] -= 1
        if self._waiting[operation_id] <= 0:
            del self._waiting[operation_id]
            self._ended.discard(operation_id)
