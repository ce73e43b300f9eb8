"""The operations that VMs are watched for: which, how, and what they make sync look at."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.database import excluded, insert
from chassis.leases import Clock
from contracts.message import Command
from contracts.topics import types
from contracts.vm.commands import Create, Delete, Import
from services.sync.tables import WATCHES, Watch

STARTED = "started"
ISSUED = "issued"
RETRYING = "retrying"
CREATE = Create.wire_name()
DELETE = Delete.wire_name()
IMPORT = Import.wire_name()
_MOVES = excluded("state", "called_at", "look_due_at", "ends_by")
_GRACE = timedelta(minutes=10)
_UNKNOWN_DEADLINE = timedelta(hours=1)


def shows_in_sweep(command: str) -> bool:
    """Whether a sweep can answer for it; true of commands that this version does not know."""
    known = _command(command)
    return known.shows_in_sweep if known else True


def patience(command: str) -> timedelta:
    """How long to watch for it at most, should its end never be heard."""
    known = _command(command)
    return (known.deadline if known else _UNKNOWN_DEADLINE) + _GRACE


def _command(name: str) -> type[Command] | None:
    body = types().get(name)
    return body if body is not None and issubclass(body, Command) else None


async def hasten(session: AsyncSession, account: str) -> bool:
    """Whether anything on the account is worth the fast interval."""
    hot = Watch.account == account, Watch.state.in_([STARTED, ISSUED])
    return bool(await session.scalar(select(exists().where(*hot))))


async def of_vms(session: AsyncSession, vm_ids: Collection[UUID]) -> dict[UUID, list[Watch]]:
    """The watches of some VMs, the one that was issued or begun last at the end."""
    found = await session.scalars(select(Watch).where(among(Watch.vm_id, vm_ids)))
    by_vm: dict[UUID, list[Watch]] = {}
    for watch in sorted(found, key=lambda w: (w.state == ISSUED, w.operation_id)):
        by_vm.setdefault(watch.vm_id, []).append(watch)
    return by_vm


def creating(watched: Sequence[Watch]) -> bool:
    """Whether the VM that these watch is still being made, in whatever state that is."""
    return any(watch.command == CREATE for watch in watched)


class Noted:
    """What messages say of operations, each by the last word; written by a few statements."""

    def __init__(self) -> None:
        self._watched: dict[UUID | None, dict[str, Any]] = {}
        self._retried: dict[UUID | None, dict[str, Any]] = {}
        self._ended: set[UUID | None] = set()

    def watch(self, row: dict[str, Any]) -> None:
        """An operation is under way: its whole row."""
        self._ended.discard(row["operation_id"])
        self._watched[row["operation_id"]] = row

    def retry(self, operation_id: UUID | None, deadline: datetime | None) -> None:
        """It is waiting to be tried again, with another deadline if one is given."""
        later: dict[str, Any] = {"state": RETRYING, "look_due_at": None}
        if deadline is not None:
            later["ends_by"] = deadline + _GRACE
        if operation_id in self._watched:
            self._watched[operation_id] |= later
        else:
            self._retried[operation_id] = later

    def end(self, operation_id: UUID | None) -> None:
        """It is over."""
        self._watched.pop(operation_id, None)
        self._ended.add(operation_id)

    async def write(self, session: AsyncSession) -> None:
        """Make the watches so."""
        for operation_id, later in self._retried.items():
            mine = Watch.operation_id == operation_id
            await session.execute(update(Watch).where(mine).values(later))
        if self._ended:
            await session.execute(delete(Watch).where(among(Watch.operation_id, self._ended)))
        if self._watched:
            upsert = insert(session, WATCHES)
            again = upsert.on_conflict_do_update(index_elements=["operation_id"], set_=_MOVES)
            await session.execute(again, list(self._watched.values()))


async def forget_overdue(session: AsyncSession, account: str, clock: Clock) -> None:
    """Drop the watches whose operation must have ended unheard."""
    overdue = Watch.account == account, Watch.ends_by <= clock()
    await session.execute(delete(Watch).where(*overdue))
