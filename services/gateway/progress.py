"""What events make of a VM's and an operation's row: pure functions on rows held in memory."""

from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Row

from contracts.message import Body, Message
from contracts.operation.events import Cancelled, Failed, Issued, Retrying, Started, Succeeded
from contracts.operation.states import OperationState
from contracts.vm.events import Changed, Observed
from contracts.vm.states import VmSnapshot, VmState
from services.gateway.stuck import stuck_after_event, stuck_at
from services.gateway.tables import OPERATIONS, columns
from services.gateway.turns import COMMANDS

Told = Started | Issued | Retrying | Succeeded | Failed | Cancelled


class Held:
    """A row in memory: its columns are attributes; what was set is written at the end."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.row = SimpleNamespace(**values)
        self.touched: set[str] = set()

    @classmethod
    def of(cls, row: Row[Any]) -> "Held":
        """A row that was read."""
        return cls(dict(columns(row)))

    @property
    def as_row(self) -> Row[Any]:
        """The same, for functions that read rows."""
        return cast("Row[Any]", self.row)

    def set(self, **values: Any) -> None:
        """Change columns."""
        self.row.__dict__.update(values)
        self.touched |= values.keys()


def blank_vm(vm_id: UUID, message: Message[Body]) -> dict[str, Any]:
    """The row of a VM that this database does not know, as after its loss."""
    return _columns(VmSnapshot(state=VmState.REQUESTED)) | {
        "id": vm_id,
        "project_id": message.project_id,
        "account": message.account,
        "owner": "",
        "operations": 0,
        "version": 0,
        "revision": 0,
        "created_at": message.time,
        "updated_at": message.time,
    }


def blank_operation(message: Message[Body], told: Told, vm: Held) -> dict[str, Any]:
    """The same for an operation; what was asked when is then known from its events alone."""
    command = COMMANDS.get(told.command)
    return dict.fromkeys(OPERATIONS.c.keys()) | {
        "id": message.operation_id or message.id,
        "project_id": message.project_id,
        "account": message.account,
        "vm_id": vm.row.id,
        "seq": vm.row.operations + 1,
        "command": told.command,
        "actor": message.actor,
        "request_id": message.request_id,
        "state": OperationState.QUEUED.value,
        "attempts": 0,
        "steps": [],
        "created_at": message.time,
        "deadline_at": message.time + command.deadline if command else message.time,
        "stuck_at": stuck_at(command, message.time) if command else message.time,
    }


def see(vm: Held, seen: Changed | Observed, now: datetime) -> bool:
    """Make the VM's row what sync saw, unless the row is newer; whether it was news."""
    if seen.version > vm.row.version:
        vm.set(**_news(seen.vm), version=seen.version, observed_at=seen.observed_at)
        show(vm, now)
        return True
    if seen.version == vm.row.version:
        vm.set(observed_at=seen.observed_at)
    return False


def show(vm: Held, now: datetime, **values: Any) -> None:
    """Change what callers see of a VM, so that its ETag moves."""
    vm.set(**values, revision=vm.row.revision + 1, updated_at=now)


def tell(operation: Held, told: Told, at: datetime) -> None:
    """Go on with an operation as the provisioner says."""
    operation.set(**_progress(operation.as_row, told, at))


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


def _news(vm: VmSnapshot) -> dict[str, Any]:
    """What sync saw of a VM. One without a server stays what was asked for; of one lost none is left."""
    if vm.server_id is None:
        its = {"state", "task", "fault", "server_id", "addresses"}
        return vm.model_dump(mode="json", include=its)
    return _columns(vm)


def _columns(vm: VmSnapshot) -> dict[str, Any]:
    shown = vm.model_dump(mode="json", exclude={"created_at", "updated_at"})
    return {**shown, "folded_name": vm.name.casefold()}
