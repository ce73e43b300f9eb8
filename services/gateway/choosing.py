"""Choosing what follows from a VM's drift: for what is to come, or for what there is now."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.outbox import say
from chassis.telemetry import current_traceparent
from contracts.access.events import DriftChosen
from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.message import Command, Message
from contracts.vm.events import DriftChoice
from services.gateway.correcting import commands_for
from services.gateway.drift import close, open_drift, standing
from services.gateway.intake import Asked, Intake
from services.gateway.tables import DRIFT, DRIFT_CHOICES, OPERATIONS, VMS


@dataclass(frozen=True)
class Chooser:
    """Who chooses, by which request, for which VM and when."""

    caller: Caller
    request_id: str
    vm_id: UUID
    now: datetime
    needed: Callable[[str, Role], Role]
    """The role from which on a permission is given."""

    def require(self, command: Command) -> None:
        """A 403 unless the caller may give the command itself."""
        permission = command.permission()
        self.caller.needs(self.needed(permission, command.role), permission)

    def chosen(
        self,
        choices: dict[str, DriftChoice],
        *,
        standing: bool,
        former: dict[str, DriftChoice] | None = None,
    ) -> Message[DriftChosen]:
        """What the audit is told."""
        chosen = DriftChosen(vm_id=self.vm_id, choices=choices, former=former, standing=standing)
        return Message(
            id=new_id(),
            source="hostler/gateway",
            time=self.now,
            subject=str(self.vm_id),
            project_id=self.caller.project_id,
            actor=self.caller.actor,
            request_id=self.request_id,
            override=self.caller.override,
            traceparent=current_traceparent(),
            data=chosen,
        )


async def choose(session: AsyncSession, chooser: Chooser, choices: dict[str, DriftChoice]) -> None:
    """Let `choices` stand in the place of those that stood; the same again says nothing new.

    Terminal: NOT_FOUND.
    """
    await _lock(session, chooser)
    former = await standing(session, chooser.vm_id)
    if former == choices:
        return
    own = DRIFT_CHOICES.c.vm_id == chooser.vm_id
    await session.execute(delete(DRIFT_CHOICES).where(own))
    shared = {"vm_id": chooser.vm_id, "project_id": chooser.caller.project_id}
    rows = [shared | {"field": field, "choice": choice} for field, choice in choices.items()]
    if rows:
        await session.execute(DRIFT_CHOICES.insert(), rows)
    await say(session, chooser.chosen(choices, standing=True, former=former))


async def accept(session: AsyncSession, chooser: Chooser, field: str) -> None:
    """Want what is found. Terminal: NOT_FOUND if the field does not drift."""
    await _drifting(session, chooser, field)
    await close(session, chooser.vm_id, [field])
    await say(session, chooser.chosen({field: "accept"}, standing=False))


async def correct(session: AsyncSession, chooser: Chooser, intake: Intake, field: str) -> UUID:
    """Ask for what is wanted; the operation, which is the earlier one as long as that goes on.

    Terminal: NOT_FOUND if the field does not drift, CONFLICT if no command leads back,
    STATE_CONFLICT if the VM does not take it now.
    """
    row = await _drifting(session, chooser, field)
    if await _goes_on(session, row.operation_id):
        return UUID(str(row.operation_id))
    found = commands_for({field: (row.wanted, row.found)})
    if not found:
        sentence = f"No command of Hostler leads {field} back to what is wanted; accept it instead."
        raise Terminal(ErrorCode.CONFLICT, sentence)
    intent = f"POST /v1/vms/{chooser.vm_id}/drift/{field}"
    command = found[0][1]
    chooser.require(command)
    asked = Asked(chooser.caller, command, chooser.vm_id, chooser.request_id, intent)
    accepted = await intake.accept(session, asked)
    mine = (DRIFT.c.vm_id == chooser.vm_id) & (DRIFT.c.field == field)
    values = {"choice": "correct", "operation_id": accepted.operation_id}
    await session.execute(DRIFT.update().where(mine).values(values))
    await say(session, chooser.chosen({field: "correct"}, standing=False))
    return accepted.operation_id


async def _lock(session: AsyncSession, chooser: Chooser) -> None:
    """The VM's row goes first: what is seen of it meanwhile waits."""
    mine = (VMS.c.id == chooser.vm_id) & (VMS.c.project_id == chooser.caller.project_id)
    query = select(VMS.c.id).where(mine).with_for_update()
    if (await session.execute(query)).first() is None:
        raise Terminal(ErrorCode.NOT_FOUND)


async def _drifting(session: AsyncSession, chooser: Chooser, field: str) -> Row[Any]:
    await _lock(session, chooser)
    for row in await open_drift(session, chooser.vm_id):
        if row.field == field:
            return row
    raise Terminal(ErrorCode.NOT_FOUND, f"The VM's {field} does not drift.")


async def _goes_on(session: AsyncSession, operation_id: UUID | None) -> bool:
    query = select(OPERATIONS.c.id).where(
        OPERATIONS.c.id == operation_id, OPERATIONS.c.ended_at.is_(None)
    )
    return operation_id is not None and (await session.execute(query)).first() is not None
