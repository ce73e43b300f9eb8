"""The inbox: a message that comes twice is taken once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, delete, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Instant, changed, insert, is_postgres
from chassis.tables import INBOX
from contracts.message import Body, Message


async def take(session: AsyncSession, message_id: UUID, now: datetime) -> bool:
    """Whether this is the first time; recorded in the same transaction as what follows from it."""
    row = insert(session, INBOX).values(message_id=message_id, taken_at=now)
    return await changed(session, row.on_conflict_do_nothing()) == 1


async def take_many(
    session: AsyncSession, messages: Sequence[Message[Body]], now: datetime
) -> set[UUID]:
    """The ids of those that were not taken before, in one statement; each id stands for one message.

    In one order for all, so that two who take the same ones never wait for each other.
    """
    ids = sorted({message.id for message in messages})
    if not ids:
        return set()
    taken = _rows(session, ids, now).on_conflict_do_nothing().returning(INBOX.c.message_id)
    return set((await session.execute(taken)).scalars())


def _rows(session: AsyncSession, ids: list[UUID], now: datetime) -> Any:
    row = insert(session, INBOX)
    if is_postgres(session):
        # One array: the statement is the same for any number of ids, so it is prepared once.
        each = func.unnest(literal(ids, ARRAY(Uuid)))
        return row.from_select(["message_id", "taken_at"], select(each, literal(now, Instant)))
    return row.values([{"message_id": each, "taken_at": now} for each in ids])


async def forget(session: AsyncSession, before: datetime) -> int:
    """Drop what was taken before; keep it longer than Kafka can deliver again."""
    return await changed(session, delete(INBOX).where(INBOX.c.taken_at < before))
