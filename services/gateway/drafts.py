"""Drafts: the rows that commands become, made before anything is written."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData

from chassis.identity import Caller
from contracts.message import Command
from contracts.operation.states import OperationState
from contracts.vm.commands import Create
from contracts.vm.states import VmState
from services.gateway.references import Resolved
from services.gateway.stuck import stuck_at
from services.gateway.tables import OPERATIONS
from services.gateway.turns import Open

_TURN = ("waits_for", "position")
_SHOWN = SimpleResultMetaData([*OPERATIONS.c.keys(), *_TURN])
_BLANK = dict.fromkeys(OPERATIONS.c.keys())


@dataclass
class Draft:
    """What one accepted command writes; `id` is the VM's."""

    id: UUID
    project_id: str
    account: str
    command: Command
    """As it is said: names of a create have become ids."""
    operation: dict[str, Any]
    made: dict[str, Any] | None = None
    """The row of a VM that is made."""
    changed: dict[str, Any] | None = None
    """The columns that change of a VM that is there, which is locked."""
    ahead: list[Open] = field(default_factory=list[Open])

    @property
    def tags(self) -> list[dict[str, Any]]:
        """The rows of a new VM's tags."""
        tags: list[str] = self.made["tags"] if self.made else []
        return [{"vm_id": self.id, "tag": tag, "project_id": self.project_id} for tag in tags]

    def row(self) -> Row[Any]:
        """The operation's row as it would be read back, with its turn."""
        turn = (self.ahead[-1].id if self.ahead else None, len(self.ahead))
        values = (*({**_BLANK, **self.operation}).values(), *turn)
        made: Row[Any] = IteratorResult[Any](_SHOWN, iter([values])).one()
        return made


def new_vm(
    vm_id: UUID,
    resolved: Resolved,
    place: tuple[str, str],
    operation: dict[str, Any],
    now: datetime,
    *,
    owner: str,
) -> Draft:
    """A create; `place`: project and account."""
    assert isinstance(resolved.command, Create)  # noqa: S101 - that is what is resolved
    project_id, account = place
    row = (
        requested(vm_id, project_id, account, now) | {"owner": owner} | _described(resolved.command)
    )
    row |= {
        "flavor": resolved.flavor,
        "operation_id": operation["id"],
        "operation_command": resolved.command.wire_name(),
    }
    theirs = {"vm_id": vm_id, "project_id": project_id, "account": account, "seq": 1}
    return Draft(vm_id, project_id, account, resolved.command, operation | theirs, made=row)


def next_on(
    vm: Row[Any], ahead: list[Open], command: Command, operation: dict[str, Any], now: datetime
) -> Draft:
    """A command on a VM whose row is locked; `ahead` is what has not ended yet."""
    seq = vm.operations + 1
    values: dict[str, Any] = {
        "operations": seq,
        "operation_id": vm.operation_id,
        "operation_command": vm.operation_command,
        "revision": vm.revision,
        "updated_at": vm.updated_at,
    }
    if vm.operation_id is None:
        values |= {
            "operation_id": operation["id"],
            "operation_command": command.wire_name(),
            "revision": vm.revision + 1,
            "updated_at": now,
        }
    theirs = {"vm_id": vm.id, "project_id": vm.project_id, "account": vm.account, "seq": seq}
    return Draft(
        vm.id,
        vm.project_id,
        vm.account,
        command,
        operation | theirs,
        changed={"id": vm.id, **values},
        ahead=ahead,
    )


def operation_of(
    operation_id: UUID, command: Command, caller: Caller, request_id: str, now: datetime
) -> dict[str, Any]:
    """An operation's row, but for the VM that it is on."""
    return {
        "id": operation_id,
        "command": command.wire_name(),
        "actor": caller.actor,
        "request_id": request_id,
        "state": OperationState.QUEUED.value,
        "attempts": 0,
        "steps": [{"name": "accepted", "at": now.isoformat(), "detail": None}],
        "created_at": now,
        "deadline_at": now + command.deadline,
        "stuck_at": stuck_at(command, now),
    }


def requested(vm_id: UUID, project_id: str, account: str, now: datetime) -> dict[str, Any]:
    """What every new VM's row has; its first operation and what it shall be come to it."""
    return {
        "id": vm_id,
        "project_id": project_id,
        "account": account,
        "state": VmState.REQUESTED.value,
        "addresses": [],
        "operations": 1,
        "version": 0,
        "revision": 1,
        "created_at": now,
        "updated_at": now,
    }


def _described(create: Create) -> dict[str, Any]:
    """What a create says of the VM, until sync has seen it."""
    return {
        "name": create.name,
        "folded_name": create.name.casefold(),
        "description": create.description,
        "image": create.image,
        "metadata": create.metadata,
        "tags": create.tags,
        "key_name": create.key_name,
        "availability_zone": create.availability_zone,
        "security_groups": create.security_groups,
    }
