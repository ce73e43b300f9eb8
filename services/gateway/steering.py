"""Steering operations: what of the registry `OperationCommand` may be asked of one, and is asked."""

from datetime import datetime, timedelta
from typing import Any, get_args

from sqlalchemy import Row

from contracts.message import Command
from contracts.operation.commands import Abandon, Cancel, OperationCommand
from contracts.operation.states import OperationState
from contracts.vm.commands import Create, Delete

AGAIN_AFTER = timedelta(seconds=30)
"""After which time what was asked may be asked again, although nothing has come of it."""
STEERS: tuple[type[OperationCommand], ...] = get_args(OperationCommand)
_CARRIED_OUT = {"started", "issued", "retrying"}


def why_not(kind: type[Command], row: Row[Any]) -> str | None:
    """Why that cannot be asked of an operation, or not any more; None if it can."""
    if row.ended_at is not None:
        return f"The operation has ended already: {row.state}."
    begun = row.state != OperationState.QUEUED.value and row.command != Create.wire_name()
    if kind is Cancel and begun:
        return "The operation has been started, and only a create can be undone."
    return None


def undoing(command: Command, row: Row[Any]) -> tuple[str, ...]:
    """What the cloud would be asked to undo an operation: a create that was begun is deleted.

    None other is undone. A retry asks again what was asked before, in which case it depends on what
    the cloud shows by then; to abandon asks for nothing.
    """
    begun = row.state != OperationState.QUEUED.value
    is_undone = isinstance(command, Cancel) and begun and row.command == Create.wire_name()
    return Delete().calls() if is_undone else ()


def is_asked(kind: type[Command], row: Row[Any], now: datetime) -> bool:
    """Whether the same was asked just before, and the operation has not moved since.

    Asked again it is said again, which does no harm: the first may have come to nothing.
    """
    for step in reversed(row.steps):
        if step["name"] == step_name(kind):
            return now < datetime.fromisoformat(step["at"]) + AGAIN_AFTER
        if step["name"] in _CARRIED_OUT:
            return False
    return False


def asked(command: Command, row: Row[Any], actor: str, now: datetime) -> dict[str, Any]:
    """The columns of an operation of which `command` is asked now."""
    why = f": {command.reason}" if isinstance(command, Abandon) and command.reason else ""
    step = {"name": step_name(type(command)), "at": now.isoformat(), "detail": f"{actor}{why}"}
    return {"steps": [*row.steps, step]}


def step_name(kind: type[Command]) -> str:
    """How the asking stands among an operation's steps, e.g. `cancel_asked`."""
    return f"{kind.verb()}_asked"
