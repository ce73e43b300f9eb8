"""The read model of VMs and operations, written from events alone: late and repeated ones change nothing.

A batch is one look at the rows that it is about, locked in one order, pure functions on them in
memory, message by message, and one write of what has changed.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Table, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.database import insert
from chassis.rows import insert_into, update_rows
from contracts.message import Body, Message
from contracts.operation.events import Cancelled, Failed, Issued, Retrying, Started, Succeeded
from contracts.vm.events import Changed, Observed
from services.gateway.progress import (
    Held,
    Told,
    blank_operation,
    blank_vm,
    see,
    show,
    tell,
)
from services.gateway.tables import OPERATIONS, VM_TAGS, VMS

_TOLD = (Started, Issued, Retrying, Succeeded, Failed, Cancelled)
News = tuple[Message[Body], Changed]


async def project(
    session: AsyncSession, messages: Sequence[Message[Body]], now: datetime
) -> list[News]:
    """Take messages into the read model, in order; the changes among them that were news.

    Each message once: the inbox is the caller's. VMs and operations that are not known get rows.
    """
    board = Board(now)
    about = [message for message in messages if _concerns(message.data)]
    if not about:
        return []
    await board.read(session, about)
    news = [message for message in about if board.take(message)]
    await board.write(session)
    return [(message, message.data) for message in news if isinstance(message.data, Changed)]


def _concerns(data: Body) -> bool:
    return isinstance(data, (Changed, Observed, *_TOLD))


class Board:
    """The rows that a batch is about."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.vms: dict[UUID, Held] = {}
        self.operations: dict[UUID, Held] = {}
        self._on: defaultdict[UUID, list[Held]] = defaultdict(list)
        """The operations on each VM."""
        self._new: dict[UUID, Held] = {}
        self._retagged: set[UUID] = set()

    async def read(self, session: AsyncSession, messages: Sequence[Message[Body]]) -> None:
        """Lock the VMs, then read the operations: whoever writes one holds its VM first."""
        about = {UUID(message.subject): message for message in reversed(messages)}
        await self._lock(session, about.keys())
        if unknown := sorted(about.keys() - self.vms.keys()):
            rows = insert(session, VMS).values([blank_vm(each, about[each]) for each in unknown])
            await session.execute(rows.on_conflict_do_nothing())
            await self._lock(session, unknown)
        named = {m.operation_id or m.id for m in messages if isinstance(m.data, _TOLD)}
        if named:
            vms = {UUID(m.subject) for m in messages if isinstance(m.data, _TOLD)}
            here = among(OPERATIONS.c.vm_id, vms) & OPERATIONS.c.ended_at.is_(None)
            query = select(OPERATIONS).where(or_(among(OPERATIONS.c.id, named), here))
            rows = (await session.execute(query)).all()
            for row in rows:
                self._add(row.id, Held.of(row))

    async def _lock(self, session: AsyncSession, ids: Iterable[UUID]) -> None:
        query = select(VMS).where(among(VMS.c.id, list(ids))).order_by(VMS.c.id).with_for_update()
        self.vms |= {row.id: Held.of(row) for row in (await session.execute(query)).all()}

    def take(self, message: Message[Body]) -> bool:
        """One message; whether it is news of a VM."""
        vm, data = self.vms[UUID(message.subject)], message.data
        if isinstance(data, Changed | Observed):
            return self._see(vm, data)
        assert isinstance(data, _TOLD)  # noqa: S101 - the others concern no row
        self._tell(vm, message, data)
        return False

    def _see(self, vm: Held, seen: Changed | Observed) -> bool:
        tags = set(vm.row.tags)
        news = see(vm, seen, self.now)
        if set(vm.row.tags) != tags:
            self._retagged.add(vm.row.id)
        return news

    def _tell(self, vm: Held, message: Message[Body], told: Told) -> None:
        """Nothing follows an operation's end."""
        operation = self._operation(vm, message, told)
        if operation.row.ended_at is not None:
            return
        tell(operation, told, message.time)
        if operation.row.ended_at or vm.row.operation_id is None:
            self._next_turn(vm)

    def _operation(self, vm: Held, message: Message[Body], told: Told) -> Held:
        operation_id = message.operation_id or message.id
        known = self.operations.get(operation_id)
        if known is None:
            known = self._new[operation_id] = Held(blank_operation(message, told, vm))
            self._add(operation_id, known)
            vm.set(operations=vm.row.operations + 1)
        return known

    def _add(self, operation_id: UUID, operation: Held) -> None:
        self.operations[operation_id] = operation
        self._on[operation.row.vm_id].append(operation)

    def _next_turn(self, vm: Held) -> None:
        """Show on the VM what is under way now."""
        waiting = [each.row for each in self._on[vm.row.id] if each.row.ended_at is None]
        first = min(waiting, key=lambda row: row.seq, default=None)
        if (first.id if first else None) != vm.row.operation_id:
            shown = {"operation_id": None, "operation_command": None}
            if first:
                shown = {"operation_id": first.id, "operation_command": first.command}
            show(vm, self.now, **shown)

    async def write(self, session: AsyncSession) -> None:
        """Write what has changed, a statement for each set of columns."""
        await _update(session, VMS, self.vms.values())
        if self._new:
            rows = [vars(each.row) for each in self._new.values()]
            await insert_into(session, (OPERATIONS, rows))
        known = self.operations.keys() - self._new.keys()
        await _update(session, OPERATIONS, [self.operations[each] for each in known])
        if self._retagged:
            await self._retag(session)

    async def _retag(self, session: AsyncSession) -> None:
        await session.execute(delete(VM_TAGS).where(among(VM_TAGS.c.vm_id, self._retagged)))
        rows = [
            {"vm_id": vm_id, "tag": tag, "project_id": self.vms[vm_id].row.project_id}
            for vm_id in sorted(self._retagged)
            for tag in sorted(set(self.vms[vm_id].row.tags))
        ]
        await insert_into(session, (VM_TAGS, rows))


async def _update(session: AsyncSession, table: Table, held: Iterable[Held]) -> None:
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for each in held:
        if each.touched:
            names = tuple(sorted(each.touched))
            values = {name: getattr(each.row, name) for name in names}
            by_columns.setdefault(names, []).append({"id": each.row.id, **values})
    for rows in by_columns.values():
        await update_rows(session, table, "id", rows)
