"""What audit does with what it hears: all of it goes into the ledger, a batch in one transaction."""

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.consumer import Batch, BatchHandler
from chassis.leases import Clock
from services.audit.ledger import append


def keep(clock: Clock) -> BatchHandler:
    """The handler of every topic. The ledger knows messages by id: one that comes again is not new."""

    async def on_batch(session: AsyncSession, batch: Batch) -> None:
        await append(session, batch, clock())

    return on_batch
