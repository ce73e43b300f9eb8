"""What the provisioner says of an operation: kept until its transaction ends, then said at once."""

from datetime import datetime
from typing import TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.ids import new_id
from chassis.outbox import say
from chassis.telemetry import current_traceparent
from contracts.message import Body, Event, Message
from services.provisioner.tables import Operation

EventT = TypeVar("EventT", bound=Event)
_UNSAID = "unsaid"


def about(operation: Operation, event: EventT, now: datetime) -> Message[EventT]:
    """A message about an operation: its VM is the subject, its caller the actor."""
    return Message(
        id=new_id(),
        source="hostler/provisioner",
        time=now,
        subject=str(operation.vm_id),
        project_id=operation.project_id,
        account=operation.account,
        actor=operation.actor,
        operation_id=operation.id,
        request_id=operation.request_id,
        traceparent=current_traceparent() or operation.traceparent,
        data=event,
    )


def tell(session: AsyncSession, operation: Operation, event: Event, now: datetime) -> None:
    """Say it when `speak` is called: a transaction about many operations writes to the outbox once."""
    unsaid = cast("list[Message[Body]]", session.info.setdefault(_UNSAID, []))
    unsaid.append(about(operation, event, now))


async def speak(session: AsyncSession) -> None:
    """Say what was told in this transaction, in that order."""
    if unsaid := cast("list[Message[Body]]", session.info.pop(_UNSAID, [])):
        await say(session, *unsaid)
