"""The inbox: a message that comes twice is taken once."""

from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import changed, insert
from chassis.tables import INBOX
from contracts.message import Body, Message


async def take(session: AsyncSession, message: Message[Body], now: datetime) -> bool:
    """Whether this is the first time; recorded in the same transaction as what follows from it."""
    row = insert(session, INBOX).values(message_id=message.id, taken_at=now)
    return await changed(session, row.on_conflict_do_nothing()) == 1


async def forget(session: AsyncSession, before: datetime) -> int:
    """Drop what was taken before; keep it longer than Kafka can deliver again."""
    return await changed(session, delete(INBOX).where(INBOX.c.taken_at < before))
