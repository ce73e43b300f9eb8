"""The time that all replicas of a service share: their database's, whatever their own clocks say.

A lease is only as good as the clock it is told by. By the wall clock of each process, one that
runs ahead would take what another one holds, and killed would keep it from its successors.
"""

import asyncio
import time
from datetime import datetime, timedelta

from sqlalchemy import func, select

from chassis.database import Database
from chassis.leases import Clock

READ_SECONDS = 30.0
TELLING_SECONDS = 0.5
"""An answer that took longer tells too little: half of that is how wrong it may be."""


class SharedClock:
    """A service's clock. On SQLite, and until Postgres was read first, it is the process's own."""

    def __init__(self, database: Database, own: Clock) -> None:
        self._database = database
        self._own = own
        self._read: tuple[datetime, float] | None = None

    def __call__(self) -> datetime:
        """The time, counted on from the last reading: a wall clock that is moved moves it not."""
        if self._read is None:
            return self._own()
        moment, read_at = self._read
        return moment + timedelta(seconds=time.monotonic() - read_at)

    async def read(self) -> None:
        """Ask Postgres for the time."""
        if not self._database.is_postgres:
            return
        async with self._database.reading() as session:
            await session.connection()
            began = time.monotonic()
            moment = await session.scalar(select(func.clock_timestamp()))
            took = time.monotonic() - began
        if moment is not None and (self._read is None or took < TELLING_SECONDS):
            self._read = moment, began + took / 2

    async def keep(self) -> None:
        """Read it again and again, until cancelled."""
        while True:
            await asyncio.sleep(READ_SECONDS)
            await self.read()
