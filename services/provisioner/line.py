"""Whose turn it is: a VM's operations stand in line, the oldest that has not ended in front.

Those behind have no `due_at`, so that whoever looks for work does not pass them on the way.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from chassis.among import among, among_named
from chassis.database import changed
from contracts.operation.states import OperationState
from services.provisioner.tables import Operation

QUOTA = "quota"


def _is_behind() -> ColumnElement[bool]:
    earlier = aliased(Operation)
    return exists().where(
        earlier.vm_id == Operation.vm_id,
        earlier.seq < Operation.seq,
        earlier.ended_at.is_(None),
    )


IS_BEHIND = _is_behind()
"""Whether an operation's VM has an earlier one that has not ended."""

_FRONT = (
    select(Operation)
    .where(
        among_named(Operation.vm_id, "vm_ids"),
        Operation.ended_at.is_(None),
        ~IS_BEHIND,
    )
    .order_by(Operation.seq)
    .with_for_update(of=Operation)
)
_BEHIND_NONE = select(Operation.seq).where(
    Operation.state == OperationState.QUEUED,
    Operation.due_at.is_(None),
    Operation.ended_at.is_(None),
    ~IS_BEHIND,
)


async def front_of(session: AsyncSession, vm_ids: Collection[UUID]) -> dict[UUID, Operation]:
    """The one operation of each VM that may be under way, locked; all in one order."""
    rows = await session.execute(_FRONT, {"vm_ids": list(vm_ids)})
    return {operation.vm_id: operation for operation in rows.scalars()}


async def move_up(
    session: AsyncSession, now: datetime, vm_ids: Collection[UUID] | None = None
) -> int:
    """Make due what has come to the front, of some VMs or (None) of all; how many that were.

    It waits for no other transaction, since its own may hold rows already. What it passes over so,
    or what arrives while the one ahead ends, moves up when all are gone through now and then.
    """
    front = _BEHIND_NONE
    if vm_ids is not None:
        front = front.where(among(Operation.vm_id, vm_ids))
    return await _make_due(session, front, now)


async def let_in(session: AsyncSession, account: str, now: datetime, limit: int) -> int:
    """Room was made in an account: the oldest few that wait for quota are due at once."""
    blocked = select(Operation.seq).where(
        Operation.account == account,
        Operation.blocked_on == QUOTA,
        Operation.state == OperationState.QUEUED,
        Operation.compensating.is_(False),
        Operation.ended_at.is_(None),
        Operation.due_at > now,
    )
    return await _make_due(session, blocked.limit(limit), now)


async def _make_due(session: AsyncSession, chosen: Select[int], now: datetime) -> int:
    free = chosen.order_by(Operation.seq).with_for_update(of=Operation, skip_locked=True)
    rows = list((await session.execute(free)).scalars())
    if not rows:
        return 0
    due = update(Operation).where(among(Operation.seq, rows)).values(due_at=now)
    return await changed(session, due.execution_options(synchronize_session="fetch"))
