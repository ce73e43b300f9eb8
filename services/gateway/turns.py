"""Whose turn it is on a VM: what is under way, what waits, and which state the VM will be in then."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among_named
from chassis.problems import Refusal
from contracts.errors import ErrorCode
from contracts.message import Command
from contracts.topics import VM_COMMANDS
from contracts.vm.states import VmState
from services.gateway.tables import OPERATIONS

COMMANDS: dict[str, type[Command]] = {
    body.wire_name(): body
    for body in VM_COMMANDS.carries
    if issubclass(body, Command) and body.wire_name().startswith("vm.")
}


@dataclass(frozen=True)
class Open:
    """An operation that has not ended."""

    id: UUID
    command: str

    @property
    def end(self) -> VmState | None:
        """The state that it leaves the VM in; None if it leaves the state as it is."""
        kind = COMMANDS.get(self.command)
        return kind.change.end if kind else None


async def under_way(
    session: AsyncSession, vm_ids: Collection[UUID]
) -> defaultdict[UUID, list[Open]]:
    """The operations on VMs that have not ended, in their order."""
    found: defaultdict[UUID, list[Open]] = defaultdict(list)
    if not vm_ids:
        return found
    for row in (await session.execute(_UNDER_WAY, {"vm_ids": list(vm_ids)})).all():
        found[row.vm_id].append(Open(row.id, row.command))
    return found


_UNDER_WAY = (
    select(OPERATIONS.c.vm_id, OPERATIONS.c.id, OPERATIONS.c.command)
    .where(
        among_named(OPERATIONS.c.vm_id, "vm_ids"),
        OPERATIONS.c.ended_at.is_(None),
    )
    .order_by(OPERATIONS.c.seq)
)


def predicted(state: VmState, waiting: list[Open]) -> VmState:
    """The state that a VM is in once all that waits has been carried out."""
    ends = [each.end for each in waiting if each.end is not None]
    return ends[-1] if ends else state


def require_state(vm: Row[Any], waiting: list[Open], command: Command) -> None:
    """A 409 that names the states that allow the command, unless the VM will be in one of them."""
    state = predicted(VmState(vm.state), waiting)
    if state in command.change.start:
        return
    allowed = sorted(command.change.start)
    when = "will be" if waiting else "is"
    raise Refusal(
        ErrorCode.STATE_CONFLICT,
        f"The VM {when} {state}; {command.title()} asks for one of: {', '.join(allowed)}.",
        state=state.value,
        allowed=[each.value for each in allowed],
        operation=str(waiting[-1].id) if waiting else None,
    )
