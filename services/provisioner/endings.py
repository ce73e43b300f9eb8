"""The three ways in which an operation ends: its row and what is said of it, in one transaction."""

import logging
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.outbox import say
from chassis.telemetry import bound
from contracts.message import Event
from contracts.operation import events
from contracts.operation.states import OperationError, OperationState
from services.provisioner.line import move_up
from services.provisioner.measures import count_ended
from services.provisioner.saying import about
from services.provisioner.stragglers import may_come, next_check
from services.provisioner.tables import Operation

LOG = logging.getLogger(__name__)
_NOT_KEPT = frozenset({"user_data"})
"""What a command carried that nobody needs once it has ended, and that may hold secrets."""


async def succeed(session: AsyncSession, operation: Operation, now: datetime) -> None:
    """Sync has seen what was asked for."""
    server_id = operation.server_id
    said: list[Event] = [events.Succeeded(command=operation.command, server_id=server_id)]
    if (emits := operation.asks.emits) is not None:
        said.append(emits(server_id=server_id))
    operation.error = None
    await _end(session, operation, OperationState.SUCCEEDED, now, *said)
    _look_after(operation, now)


async def fail(
    session: AsyncSession,
    operation: Operation,
    error: OperationError,
    now: datetime,
    *,
    gone: bool = False,
) -> None:
    """It ended without; `gone`: nothing of a create is left in the cloud."""
    operation.error = error.model_dump(mode="json")
    failed = events.Failed(
        command=operation.command, server_id=operation.server_id, error=error, gone=gone
    )
    await _end(session, operation, OperationState.FAILED, now, failed)
    if gone or not operation.compensating:
        _look_after(operation, now)


async def cancel(session: AsyncSession, operation: Operation, now: datetime) -> None:
    """It was ended on request; nothing of it is left."""
    cancelled = events.Cancelled(command=operation.command, server_id=operation.server_id)
    await _end(session, operation, OperationState.CANCELLED, now, cancelled)
    _look_after(operation, now)


def _look_after(operation: Operation, now: datetime) -> None:
    operation.doubts = 0
    operation.due_at = next_check(0, now) if may_come(operation) else None


async def _end(
    session: AsyncSession,
    operation: Operation,
    state: OperationState,
    now: datetime,
    *said: Event,
) -> None:
    operation.state = state
    operation.ended_at = now
    operation.due_at = operation.lease_token = operation.blocked_on = None
    operation.data = {k: v for k, v in operation.data.items() if k not in _NOT_KEPT}
    await say(session, *(about(operation, event, now) for event in said))
    await session.flush()
    await move_up(session, now, operation.vm_id)
    count_ended(operation, now)
    with bound(**operation.ids):
        LOG.info("%s %s", operation.command, state)
