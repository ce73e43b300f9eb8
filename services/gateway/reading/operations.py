"""Operations out of the read model."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.errors import Terminal
from contracts.errors import ErrorCode
from contracts.operation.states import OperationState
from contracts.vm.commands import Create
from services.gateway.resources import Operation, OperationLinks
from services.gateway.tables import OPERATIONS, columns

_BEFORE = OPERATIONS.alias("before")
_AHEAD = (
    (_BEFORE.c.vm_id == OPERATIONS.c.vm_id)
    & (_BEFORE.c.seq < OPERATIONS.c.seq)
    & _BEFORE.c.ended_at.is_(None)
)
_WAITS_FOR = (
    select(_BEFORE.c.id).where(_AHEAD).order_by(_BEFORE.c.seq.desc()).limit(1).scalar_subquery()
)
_POSITION = select(func.count()).select_from(_BEFORE).where(_AHEAD).scalar_subquery()
_SHOWN = select(OPERATIONS, _WAITS_FOR.label("waits_for"), _POSITION.label("position"))


@dataclass(frozen=True)
class OperationFilter:
    """Which operations of a project."""

    project_id: str
    vm_id: UUID | None = None
    states: frozenset[OperationState] = frozenset()
    command: str | None = None

    def narrow(self, query: Select[Any]) -> Select[Any]:
        """The same as conditions of a query."""
        query = query.where(OPERATIONS.c.project_id == self.project_id)
        if self.vm_id is not None:
            query = query.where(OPERATIONS.c.vm_id == self.vm_id)
        if self.states:
            query = query.where(OPERATIONS.c.state.in_([each.value for each in self.states]))
        if self.command is not None:
            query = query.where(OPERATIONS.c.command == self.command)
        return query


def listed(wanted: OperationFilter) -> Select[Any]:
    """The query for a list, not sorted yet."""
    return wanted.narrow(_SHOWN)


async def find(session: AsyncSession, project_id: str, operation_id: UUID) -> Row[Any]:
    """One operation's row; Terminal(NOT_FOUND) if the project has no such one."""
    mine = (OPERATIONS.c.id == operation_id) & (OPERATIONS.c.project_id == project_id)
    row = (await session.execute(_SHOWN.where(mine))).first()
    if row is None:
        raise Terminal(ErrorCode.NOT_FOUND)
    return row


def shown(row: Row[Any]) -> Operation:
    """An operation as the API answers it."""
    here, ended = f"/v1/operations/{row.id}", row.ended_at is not None
    cancel = None if why_not_cancelled(row) else f"{here}/cancel"
    links = OperationLinks(self=here, vm=f"/v1/vms/{row.vm_id}", cancel=cancel)
    turn = {"waits_for": None, "position": 0} if ended else {}
    return Operation.model_validate({**columns(row), **turn, "links": links})


def why_not_cancelled(row: Row[Any]) -> str | None:
    """Why an operation cannot be cancelled, or not any more; None if it can."""
    if row.ended_at is not None:
        return f"The operation has ended already: {row.state}."
    if row.state != OperationState.QUEUED and row.command != Create.wire_name():
        return "The operation has been started, and only a create can be undone."
    return None
