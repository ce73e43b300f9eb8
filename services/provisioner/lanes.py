"""A lane per account: what is due in one is found without passing what waits in the others."""

from datetime import datetime

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.provisioner.line import is_behind
from services.provisioner.tables import Operation


async def with_work(session: AsyncSession, now: datetime) -> list[str]:
    """The accounts in which something is due: one step on the index per account, not per row."""
    first = select(func.min(Operation.account).label("account"))
    lanes = first.where(Operation.due_at.is_not(None)).cte("lanes", recursive=True)
    later, its = aliased(Operation), aliased(Operation)
    following = select(func.min(later.account)).where(
        later.due_at.is_not(None), later.account > lanes.c.account
    )
    lanes = lanes.union_all(select(following.scalar_subquery()).where(lanes.c.account.is_not(None)))
    is_due = exists().where(its.account == lanes.c.account, its.due_at <= now)
    found = await session.execute(select(lanes.c.account).where(is_due))
    return list(found.scalars())


async def due(session: AsyncSession, account: str, now: datetime, limit: int) -> list[Operation]:
    """The oldest due operations of one account that no other worker is just taking, locked."""
    lane = select(Operation).where(
        Operation.account == account, Operation.due_at <= now, ~is_behind()
    )
    lane = lane.order_by(Operation.due_at, Operation.seq).limit(limit)
    rows = await session.execute(lane.with_for_update(skip_locked=True, of=Operation))
    return list(rows.scalars())
