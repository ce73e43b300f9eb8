"""Whose a server is already: one server is never taken in as a second VM."""

from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.vm.commands import Import
from contracts.vm.states import VmState
from services.provisioner.tables import Operation, Server


async def owner_of(session: AsyncSession, operation: Operation) -> UUID | None:
    """The VM whose an import's server is, or that another import makes of it; None: nobody's."""
    server_id = _asked(operation)
    known = select(Server.vm_id).where(
        Server.account == operation.account,
        Server.server_id == server_id,
        Server.vm_id != operation.vm_id,
        Server.state != VmState.DELETED,
    )
    owner = (await session.execute(known.limit(1))).scalar_one_or_none()
    return owner or await _earlier(session, operation, server_id)


async def _earlier(
    session: AsyncSession, operation: Operation, server_id: str | None
) -> UUID | None:
    ahead = or_(Operation.seq < operation.seq, Operation.called_at.is_not(None))
    others = select(Operation).where(
        Operation.account == operation.account,
        Operation.command == Import.wire_name(),
        Operation.vm_id != operation.vm_id,
        Operation.ended_at.is_(None),
        ahead,
    )
    for other in (await session.execute(others)).scalars():
        if _asked(other) == server_id:
            return other.vm_id
    return None


def _asked(operation: Operation) -> str | None:
    command = None if operation.unreadable else operation.asks
    return command.server_id if isinstance(command, Import) else None
