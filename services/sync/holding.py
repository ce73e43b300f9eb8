"""Work that only the holder of a lease may do: kept while it lasts, its writes guarded."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import is_outage
from chassis.leases import LeaseLostError, NamedLease
from chassis.tables import LEASES

LOG = logging.getLogger(__name__)


@asynccontextmanager
async def guarded(lease: NamedLease) -> AsyncGenerator[AsyncSession]:
    """A transaction that writes only as long as the lease is this process's; else LeaseLostError."""
    mine = (LEASES.c.name == lease.name) & (LEASES.c.token == lease.token)
    async with lease.database.session() as session:
        held = select(LEASES.c.name).where(mine).with_for_update(read=True)
        if await session.scalar(held) is None:
            raise LeaseLostError(lease.name)
        yield session


async def while_held(lease: NamedLease, work: Coroutine[None, None, object]) -> None:
    """Do work, however long it takes, and renew the lease meanwhile; stop if it is lost."""
    working = asyncio.create_task(work)
    keeping = asyncio.create_task(_keep(lease))
    try:
        await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            LOG.warning("lost the lease %s", lease.name)
            return
        await working
    finally:
        for task in (working, keeping):
            task.cancel()
        await asyncio.gather(working, keeping, return_exceptions=True)


async def _keep(lease: NamedLease) -> None:
    """Return once the lease is lost. While the database is out nobody can take it either."""
    while True:
        await asyncio.sleep(lease.ttl.total_seconds() / 5)
        try:
            if not await lease.hold():
                return
        except Exception as error:
            if not is_outage(error):
                raise
