"""What audit does with what it hears: all of it goes into the ledger, a batch in one transaction."""

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.leases import Clock
from chassis.wire import Record
from services.audit.ledger import append
from services.audit.reading import Heard

Keep = Callable[[AsyncSession, Sequence[tuple[Heard, Record]]], Awaitable[None]]
"""A `ReadHandler` of what audit reads."""


def keep(clock: Clock) -> Keep:
    """The handler of every topic. The ledger knows messages by id: one that comes again is not new."""

    async def on_batch(session: AsyncSession, batch: Sequence[tuple[Heard, Record]]) -> None:
        await append(session, batch, clock())

    return on_batch
