"""Operations out of the read model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.errors import Terminal
from contracts.errors import ErrorCode
from contracts.operation.states import OperationState
from services.gateway.resources import Operation, OperationLinks
from services.gateway.steering import STEERS, why_not
from services.gateway.stuck import stuck
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
_ONE = _SHOWN.where(
    OPERATIONS.c.id == bindparam("operation_id"), OPERATIONS.c.project_id == bindparam("project_id")
)


@dataclass(frozen=True)
class OperationFilter:
    """Which operations of a project."""

    project_id: str
    vm_id: UUID | None = None
    states: frozenset[OperationState] = frozenset()
    command: str | None = None
    stuck_at: datetime | None = None
    """Those that are stuck at this time."""

    def narrow(self, query: Select[Any]) -> Select[Any]:
        """The same as conditions of a query."""
        query = query.where(OPERATIONS.c.project_id == self.project_id)
        if self.vm_id is not None:
            query = query.where(OPERATIONS.c.vm_id == self.vm_id)
        if self.states:
            query = query.where(OPERATIONS.c.state.in_([each.value for each in self.states]))
        if self.command is not None:
            query = query.where(OPERATIONS.c.command == self.command)
        if self.stuck_at is not None:
            is_stuck = OPERATIONS.c.ended_at.is_(None) & (OPERATIONS.c.stuck_at <= self.stuck_at)
            query = query.where(is_stuck)
        return query


def listed(wanted: OperationFilter) -> Select[Any]:
    """The query for a list, not sorted yet."""
    return wanted.narrow(_SHOWN)


async def find(session: AsyncSession, project_id: str, operation_id: UUID) -> Row[Any]:
    """One operation's row; Terminal(NOT_FOUND) if the project has no such one."""
    mine = {"operation_id": operation_id, "project_id": project_id}
    row = (await session.execute(_ONE, mine)).first()
    if row is None:
        raise Terminal(ErrorCode.NOT_FOUND)
    return row


async def find_all(
    session: AsyncSession, project_id: str, operation_ids: Sequence[UUID]
) -> list[Row[Any]]:
    """The rows of several operations, in this order; what the project does not have is left out."""
    mine = among(OPERATIONS.c.id, operation_ids) & (OPERATIONS.c.project_id == project_id)
    found = {row.id: row for row in (await session.execute(_SHOWN.where(mine))).all()}
    return [found[each] for each in operation_ids if each in found]


def shown(row: Row[Any], now: datetime) -> Operation:
    """An operation as the API answers it."""
    here, ended = f"/v1/operations/{row.id}", row.ended_at is not None
    offered = {kind.verb(): f"{here}/{kind.verb()}" for kind in STEERS if not why_not(kind, row)}
    links = OperationLinks(self=here, vm=f"/v1/vms/{row.vm_id}", **offered)
    turn = {"waits_for": None, "position": 0} if ended else {}
    more = {"links": links, "stuck": stuck(row, now)}
    return Operation.model_validate({**columns(row), **turn, **more})
