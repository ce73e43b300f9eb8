"""The sweep that ends what is overdue: one indexed query, however many operations wait."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.provisioner.outcome import Outcome
from services.provisioner.tables import Operation

BATCH = 100


async def expire_overdue(session: AsyncSession, outcome: Outcome, now: datetime) -> None:
    """End, or begin to undo, what has passed its deadline and is in no worker's hands."""
    nobodys = Operation.lease_token.is_(None) | (Operation.due_at <= now)
    overdue = (
        select(Operation)
        .where(Operation.ended_at.is_(None), Operation.deadline_at <= now, nobodys)
        .order_by(Operation.deadline_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    for operation in (await session.execute(overdue)).scalars().all():
        await outcome.expire(session, operation, now)
