"""Which commands make a VM's fields what they should be, and which fields a command explains."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Row

from contracts.errors import ErrorCode
from contracts.message import Command
from contracts.vm.commands import Pause, Start, Stop, Unpause, Update
from contracts.vm.states import VmState
from services.gateway.turns import COMMANDS

UPDATABLE = frozenset(Update.model_fields) - {"type"}
_POWER: tuple[type[Start | Stop | Pause | Unpause], ...] = (Start, Stop, Pause, Unpause)
_GIVEN_UP = {ErrorCode.DEADLINE, ErrorCode.STALLED, ErrorCode.ABANDONED}
_SWITCHED = {VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED}


def is_correctable(field: str, wanted: Any, found: Any) -> bool:
    """Whether one command leads from what is found to what is wanted."""
    return bool(commands_for({field: (wanted, found)}))


def may_be_corrected(field: str) -> bool:
    """Whether there are commands for the field at all."""
    return field == "state" or field in UPDATABLE


def commands_for(
    fields: Mapping[str, tuple[Any, Any]],
) -> list[tuple[list[str], Command]]:
    """Commands, with the fields that each puts right; `fields`: as wanted and as found.

    A field that no command can put right is in none of them: a server that is missing is not
    started, and a name that Hostler would not take is not given back.
    """
    found: list[tuple[list[str], Command]] = []
    texts = {field: wanted for field, (wanted, _) in fields.items() if _update({field: wanted})}
    update = _update(texts)
    if update is not None:
        found.append((list(texts), update))
    if "state" in fields and (switch := _switch(*fields["state"])):
        found.append((["state"], switch))
    return found


def explains(command: str | None, field: str, value: Any) -> bool:
    """Whether a field may have come to a value by a command of this wire name.

    One that is not known here may do anything.
    """
    kind = COMMANDS.get(command or "")
    return kind is None or kind.change.explains(field, value)


def is_late(operation: Row[Any], field: str, value: Any) -> bool:
    """Whether a field may have come to a value by an operation that was given up before.

    The cloud may carry on with what it took.
    """
    kind = COMMANDS.get(operation.command)
    error: dict[str, Any] = operation.error or {}
    if kind is None or error.get("code") not in _GIVEN_UP or field not in kind.change.moves:
        return False
    return field != "state" or value == kind.change.end


def _update(wanted: Mapping[str, Any]) -> Update | None:
    """An update that leaves out nothing of `wanted`: no description is an empty one."""
    if not wanted or not set(wanted) <= UPDATABLE:
        return None
    said = {field: "" if value is None else value for field, value in wanted.items()}
    try:
        return Update.model_validate(said)
    except ValidationError:
        return None


def _switch(wanted: str, found: str) -> Command | None:
    if found not in _SWITCHED:
        return None
    for kind in _POWER:
        if kind.change.end == wanted and VmState(found) in kind.change.start:
            return kind()
    return None
