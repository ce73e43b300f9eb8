"""A lane per account: what is due in one is found without passing what waits in the others."""

from datetime import datetime

from sqlalchemy import Integer, Select, bindparam, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.provisioner.line import IS_BEHIND
from services.provisioner.tables import Operation, Server


async def with_work(session: AsyncSession, now: datetime) -> list[str]:
    """The accounts in which something is due: one step on the index per account, not per row."""
    return list((await session.execute(_WITH_WORK, {"now": now})).scalars())


async def due(
    session: AsyncSession, account: str, now: datetime, limit: int
) -> list[tuple[Operation, str | None]]:
    """The oldest due operations of one account that no other worker is just taking, locked.

    None that is overdue: who watches the deadlines ends it. Each with the id of its VM's server, as far as sync has spoken of it.
    """
    asked = {"account": account, "now": now, "room": limit}
    return [(row[0], row[1]) for row in await session.execute(_DUE, asked)]


def _with_work() -> Select[str]:
    first = select(func.min(Operation.account).label("account"))
    lanes = first.where(Operation.due_at.is_not(None)).cte("lanes", recursive=True)
    later, its = aliased(Operation), aliased(Operation)
    following = select(func.min(later.account)).where(
        later.due_at.is_not(None), later.account > lanes.c.account
    )
    lanes = lanes.union_all(select(following.scalar_subquery()).where(lanes.c.account.is_not(None)))
    is_due = exists().where(its.account == lanes.c.account, its.due_at <= bindparam("now"))
    return select(lanes.c.account).where(is_due)


def _due() -> Select[Operation, str | None]:
    known = select(Server.server_id).where(Server.vm_id == Operation.vm_id).scalar_subquery()
    mine = Operation.account == bindparam("account"), Operation.due_at <= bindparam("now")
    in_time = Operation.ended_at.is_not(None) | (Operation.deadline_at > bindparam("now"))
    lane = select(Operation, known).where(*mine, in_time, ~IS_BEHIND)
    lane = lane.order_by(Operation.due_at, Operation.seq).limit(bindparam("room", type_=Integer))
    return lane.with_for_update(skip_locked=True, of=Operation)


_WITH_WORK, _DUE = _with_work(), _due()
