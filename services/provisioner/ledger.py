"""The ledger: everything that Hostler made in a cloud for a VM, from the intent until it is gone.

A create's server is entered before its request is sent, so that whatever an unanswered request
made belongs to a VM that the ledger names.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.database import changed, insert
from chassis.rows import update_rows
from drivers.base import Resource
from services.provisioner.tables import Made, Operation

_LEDGER = Made.metadata.tables["ledger"]
SERVER = "server"
_NOTES = "ledger"


async def intend(session: AsyncSession, creates: Sequence[Operation], now: datetime) -> None:
    """Creates are about to ask for a server each; a repeated attempt is the same intent."""
    rows = [
        {"id": _intent(each), **_entry(each, SERVER, now), "resource_id": None} for each in creates
    ]
    await session.execute(insert(session, _LEDGER).on_conflict_do_nothing(), rows)


def made(session: AsyncSession, operation: Operation) -> None:
    """The cloud has named the server of a create; written by `write`."""
    _notes(session).made[_intent(operation)] = operation.server_id


def none_left(session: AsyncSession, vm_id: UUID) -> None:
    """Nothing of a VM is left; written by `write`."""
    _notes(session).gone.add(vm_id)


async def write(session: AsyncSession, now: datetime) -> None:
    """Enter what was noted in this transaction, in a statement for each kind of note."""
    notes = _notes(session)
    made = [
        {"id": entry, "resource_id": server, "made_at": now, "gone_at": None}
        for entry, server in sorted(notes.made.items())
    ]
    await update_rows(session, _LEDGER, "id", made)
    if notes.gone:
        its = among(_LEDGER.c.vm_id, notes.gone) & _LEDGER.c.gone_at.is_(None)
        await session.execute(update(_LEDGER).where(its).values(gone_at=now))
    session.info.pop(_NOTES)


async def found(
    session: AsyncSession,
    operation: Operation,
    now: datetime,
    *,
    servers: Collection[str] = (),
    belongings: Collection[Resource] = (),
) -> None:
    """More was found that is the VM's: what an unanswered request made, or the cloud for a server."""
    things = [(SERVER, server_id) for server_id in servers]
    things += [(resource.kind, resource.id) for resource in belongings]
    rows = [
        {
            "id": f"{operation.account}/{kind}/{resource_id}",
            **_entry(operation, kind, now),
            "resource_id": resource_id,
            "made_at": now,
        }
        for kind, resource_id in things
    ]
    if rows:
        await session.execute(insert(session, _LEDGER).on_conflict_do_nothing(), rows)


async def seen_gone(session: AsyncSession, server_ids: Collection[str], now: datetime) -> None:
    """Sync has seen that these servers are deleted."""
    its = Made.kind == SERVER, among(Made.resource_id, server_ids), Made.gone_at.is_(None)
    await session.execute(update(Made).where(*its).values(gone_at=now))


async def none_besides(session: AsyncSession, vm_id: UUID, server_id: str, now: datetime) -> None:
    """Of a VM's servers none is left but the one."""
    others = Made.kind == SERVER, Made.resource_id != server_id
    its = update(Made).where(Made.vm_id == vm_id, Made.gone_at.is_(None), *others)
    await session.execute(its.values(gone_at=now))


async def forget(session: AsyncSession, before: datetime) -> int:
    """Drop what went before."""
    return await changed(session, delete(Made).where(Made.gone_at < before))


@dataclass
class _Notes:
    """What one transaction has to enter."""

    made: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    gone: set[UUID] = field(default_factory=set[UUID])


def _notes(session: AsyncSession) -> _Notes:
    notes: _Notes = session.info.setdefault(_NOTES, _Notes())
    return notes


def _intent(operation: Operation) -> str:
    return f"{operation.id}/{operation.rebuilds}"


def _entry(operation: Operation, kind: str, now: datetime) -> dict[str, object]:
    return {
        "vm_id": operation.vm_id,
        "project_id": operation.project_id,
        "account": operation.account,
        "kind": kind,
        "operation_id": operation.id,
        "intended_at": now,
    }
