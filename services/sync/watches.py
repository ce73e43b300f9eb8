"""The operations that VMs are watched for: which, how, and what they make sync look at."""

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.message import Command
from contracts.topics import types
from contracts.vm.commands import Create, Delete
from services.sync.saying import Clock
from services.sync.tables import Watch

STARTED = "started"
ISSUED = "issued"
RETRYING = "retrying"
CREATE = Create.wire_name()
DELETE = Delete.wire_name()
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
    found = await session.scalars(select(Watch).where(Watch.vm_id.in_(vm_ids)))
    by_vm: dict[UUID, list[Watch]] = {}
    for watch in sorted(found, key=lambda w: (w.state == ISSUED, w.operation_id)):
        by_vm.setdefault(watch.vm_id, []).append(watch)
    return by_vm


async def forget_overdue(session: AsyncSession, account: str, clock: Clock) -> None:
    """Drop the watches whose operation must have ended unheard."""
    overdue = Watch.account == account, Watch.ends_by <= clock()
    await session.execute(delete(Watch).where(*overdue))
