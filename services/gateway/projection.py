"""The read model of VMs and operations, written from events alone: late and repeated ones change nothing."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from contracts.message import Body, Message
from contracts.operation.events import Cancelled, Failed, Issued, Retrying, Started, Succeeded
from contracts.operation.states import OperationState
from contracts.vm.events import Changed, Observed
from contracts.vm.states import VmSnapshot, VmState
from services.gateway.stuck import stuck_after_event, stuck_at
from services.gateway.tables import OPERATIONS, VM_TAGS, VMS
from services.gateway.turns import COMMANDS, under_way

Told = Started | Issued | Retrying | Succeeded | Failed | Cancelled


async def project_snapshot(
    session: AsyncSession, message: Message[Body], seen: Changed | Observed, now: datetime
) -> None:
    """Make the VM's row what sync saw, unless the row is newer; a VM not known yet gets one."""
    vm_id = UUID(message.subject)
    await _ensure_vm(session, vm_id, message)
    row = await _locked(session, vm_id)
    if seen.version > row.version:
        values = _news(seen.vm) | {"version": seen.version, "observed_at": seen.observed_at}
        await _update(session, vm_id, values, shown_at=now)
        if seen.vm.server_id is not None:
            await _retag(session, vm_id, row.project_id, seen.vm.tags)
    elif seen.version == row.version:
        await _update(session, vm_id, {"observed_at": seen.observed_at})


async def project_operation(
    session: AsyncSession, message: Message[Body], told: Told, now: datetime
) -> None:
    """Go on with an operation as the provisioner says; nothing follows its end."""
    vm_id, operation_id = UUID(message.subject), message.operation_id or message.id
    await _ensure_vm(session, vm_id, message)
    vm = await _locked(session, vm_id)
    await _ensure_operation(session, message, told, vm)
    mine = OPERATIONS.c.id == operation_id
    row = (await session.execute(select(OPERATIONS).where(mine))).one()
    if row.ended_at is not None:
        return
    values = _progress(row, told, message.time)
    await session.execute(update(OPERATIONS).where(mine).values(values))
    if values.get("ended_at") or vm.operation_id is None:
        await _next_turn(session, vm, now)


def _progress(row: Row[Any], told: Told, at: datetime) -> dict[str, Any]:
    """The columns that an event changes. `blocked_on` and `error` tell of the last attempt."""
    values: dict[str, Any] = {
        "steps": _with_step(row.steps, told, at),
        "stuck_at": stuck_after_event(row, told, at),
    }
    match told:
        case Started():
            values |= {"state": OperationState.RUNNING.value, "attempts": told.attempt}
            values |= {"started_at": row.started_at or at, "blocked_on": None}
        case Issued():
            values |= {"state": OperationState.WAITING.value, "error": None}
        case Retrying():
            values |= {"state": OperationState.QUEUED.value, "attempts": told.attempt}
            values |= {"error": _error(told), "blocked_on": told.blocked_on}
            values |= {"deadline_at": told.deadline_at or row.deadline_at}
        case Succeeded():
            values |= {"state": OperationState.SUCCEEDED.value, "error": None, "ended_at": at}
        case Failed():
            values |= {"state": OperationState.FAILED.value, "error": _error(told), "ended_at": at}
        case Cancelled():
            values |= {"state": OperationState.CANCELLED.value, "error": None, "ended_at": at}
    if values.get("ended_at"):
        values["blocked_on"] = None
    return values


def _error(told: Retrying | Failed) -> dict[str, Any]:
    return told.error.model_dump(mode="json")


def _with_step(steps: list[dict[str, Any]], told: Told, at: datetime) -> list[dict[str, Any]]:
    """The steps and one more; a fact that is told again under another id adds none."""
    step = {"name": type(told).__name__.lower(), "at": at.isoformat(), "detail": _detail(told)}
    again = [(each["name"], each["detail"]) for each in steps[-1:]]
    return steps if (step["name"], step["detail"]) in again else [*steps, step]


def _detail(told: Told) -> str | None:
    match told:
        case Started():
            return f"attempt {told.attempt}"
        case Issued():
            return f"server {told.server_id}" if told.server_id else None
        case Retrying():
            return f"attempt {told.attempt}: {told.error.detail}"
        case Failed():
            return told.error.detail
        case Succeeded() | Cancelled():
            return None


async def _next_turn(session: AsyncSession, vm: Row[Any], now: datetime) -> None:
    """Show on the VM what is under way now that an operation has ended."""
    waiting = (await under_way(session, [vm.id]))[vm.id]
    first = waiting[0] if waiting else None
    if (first.id if first else None) != vm.operation_id:
        shown = {
            "operation_id": first.id if first else None,
            "operation_command": first.command if first else None,
        }
        await _update(session, vm.id, shown, shown_at=now)


async def _locked(session: AsyncSession, vm_id: UUID) -> Row[Any]:
    query = select(VMS).where(VMS.c.id == vm_id).with_for_update()
    return (await session.execute(query)).one()


async def _update(
    session: AsyncSession, vm_id: UUID, values: dict[str, Any], shown_at: datetime | None = None
) -> None:
    """Change a VM's row; `shown_at`: callers see a difference, so its ETag moves."""
    if shown_at is not None:
        values = {**values, "revision": VMS.c.revision + 1, "updated_at": shown_at}
    await session.execute(update(VMS).where(VMS.c.id == vm_id).values(values))


def _news(vm: VmSnapshot) -> dict[str, Any]:
    """What sync saw of a VM. One that never had a server stays what was asked for."""
    if vm.server_id is None:
        return vm.model_dump(mode="json", include={"state", "task", "fault"})
    return _columns(vm)


def _columns(vm: VmSnapshot) -> dict[str, Any]:
    shown = vm.model_dump(mode="json", exclude={"created_at", "updated_at"})
    return {**shown, "folded_name": vm.name.casefold()}


async def _retag(
    session: AsyncSession, vm_id: UUID, project_id: str, tags: tuple[str, ...]
) -> None:
    await session.execute(delete(VM_TAGS).where(VM_TAGS.c.vm_id == vm_id))
    if tags:
        rows = [{"vm_id": vm_id, "tag": t, "project_id": project_id} for t in sorted(set(tags))]
        await session.execute(VM_TAGS.insert(), rows)


async def _ensure_vm(session: AsyncSession, vm_id: UUID, message: Message[Body]) -> None:
    """A row for a VM that this database does not know, as after its loss."""
    blank = VmSnapshot(state=VmState.REQUESTED)
    row = insert(session, VMS).values(
        **_columns(blank),
        id=vm_id,
        project_id=message.project_id,
        account=message.account,
        operations=0,
        version=0,
        revision=0,
        created_at=message.time,
        updated_at=message.time,
    )
    await session.execute(row.on_conflict_do_nothing())


async def _ensure_operation(
    session: AsyncSession, message: Message[Body], told: Told, vm: Row[Any]
) -> None:
    """The same for an operation; what was asked when is then known from its events alone."""
    operation_id = message.operation_id or message.id
    known = select(OPERATIONS.c.id).where(OPERATIONS.c.id == operation_id)
    if (await session.execute(known)).first() is not None:
        return
    command = COMMANDS.get(told.command)
    await session.execute(
        OPERATIONS.insert(),
        {
            "id": operation_id,
            "project_id": message.project_id,
            "account": message.account,
            "vm_id": vm.id,
            "seq": vm.operations + 1,
            "command": told.command,
            "actor": message.actor,
            "request_id": message.request_id,
            "state": OperationState.QUEUED.value,
            "attempts": 0,
            "steps": [],
            "created_at": message.time,
            "deadline_at": message.time + command.deadline if command else message.time,
            "stuck_at": stuck_at(command, message.time) if command else message.time,
        },
    )
    await _update(session, vm.id, {"operations": VMS.c.operations + 1})
