"""Whose turn it is: a VM's operations stand in line, the oldest that has not ended in front.

Those behind have no `due_at`, so that whoever looks for work does not pass them on the way.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, exists, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from chassis.database import changed
from contracts.operation.states import OperationState
from services.provisioner.tables import Operation


def is_behind() -> ColumnElement[bool]:
    """Whether an operation's VM has an earlier one that has not ended."""
    earlier = aliased(Operation)
    return exists().where(
        earlier.vm_id == Operation.vm_id,
        earlier.seq < Operation.seq,
        earlier.ended_at.is_(None),
    )


async def move_up(session: AsyncSession, now: datetime, vm_id: UUID | None = None) -> int:
    """Make due what has come to the front, of one VM or (None) of all; how many that were.

    All are gone through now and then: one that arrives while the one ahead ends may be overlooked.
    """
    front = update(Operation).where(
        Operation.state == OperationState.QUEUED,
        Operation.due_at.is_(None),
        Operation.ended_at.is_(None),
        ~is_behind(),
    )
    if vm_id is not None:
        front = front.where(Operation.vm_id == vm_id)
    unsynchronized = front.execution_options(synchronize_session=False)
    return await changed(session, unsynchronized.values(due_at=now))
