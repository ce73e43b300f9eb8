"""The envelope of what the provisioner says about an operation."""

from datetime import datetime
from typing import TypeVar

from chassis.ids import new_id
from chassis.telemetry import current_traceparent
from contracts.message import Event, Message
from services.provisioner.tables import Operation

EventT = TypeVar("EventT", bound=Event)


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
