"""What becomes of a create that failed, hangs or is not wanted: kept, removed, or made anew.

Every function changes the row, which the caller holds locked, and tells what follows from it.
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.operation import events
from contracts.operation.states import OperationError, OperationState
from services.provisioner import endings, ledger
from services.provisioner.saying import tell
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.settling import Failed
from services.provisioner.tables import Operation


def removes(operation: Operation) -> bool:
    """Whether undoing a create means to delete what it made, rather than to name it."""
    create = operation.creates
    wanted = create is not None and create.on_failure != "keep"
    return operation.cancel_requested or operation.anew or wanted


def failed(
    session: AsyncSession,
    operation: Operation,
    verdict: Failed,
    now: datetime,
    rules: ProvisionerSettings,
) -> None:
    """The cloud took it and failed at it or hangs, or the server is gone."""
    create = operation.creates
    if create is None or verdict.gone:
        endings.fail(session, operation, verdict.error, now, gone=verdict.gone)
    elif operation.anew or (
        create.on_failure == "retry" and operation.rebuilds < rules.build_retries
    ):
        make_anew(session, operation, verdict.error, now, rules)
    elif removes(operation):
        compensate(operation, verdict.error, now, rules)
    else:
        endings.fail(session, operation, verdict.error, now)


def give_up(
    session: AsyncSession,
    operation: Operation,
    error: OperationError,
    now: datetime,
    rules: ProvisionerSettings,
    *,
    maybe_made: bool,
) -> None:
    """Fail for good; of a create find first, and remove where that is wanted, what there is."""
    if operation.creates is None:
        endings.fail(session, operation, error, now)
    elif maybe_made:
        compensate(operation, error, now, rules)
    elif operation.cancel_requested:
        endings.cancel(session, operation, now)
    else:
        ledger.none_left(session, operation.vm_id)
        endings.fail(session, operation, error, now, gone=removes(operation))


def compensate(
    operation: Operation, error: OperationError | None, now: datetime, rules: ProvisionerSettings
) -> None:
    """Have a worker undo a create; an unanswered request gets the time to show first."""
    known = operation.server_id is not None
    operation.compensating = True
    operation.anew = False
    operation.state = OperationState.QUEUED
    operation.lease_token = operation.blocked_on = None
    operation.error = error.model_dump(mode="json") if error else None
    operation.due_at = now if known else now + rules.settle
    operation.deadline_at = now + rules.undo_limit
    operation.doubts = 0


def make_anew(
    session: AsyncSession,
    operation: Operation,
    error: OperationError,
    now: datetime,
    rules: ProvisionerSettings,
) -> None:
    """Have a worker undo a create and, once nothing of it is left, begin it again."""
    compensate(operation, error, now, rules)
    operation.anew = True
    operation.deadline_at = now + operation.asks.deadline
    say_again(session, operation, error, now, moved=True)


def begin_again(session: AsyncSession, operation: Operation, now: datetime) -> None:
    """Nothing of a create is left: it is asked for again as if for the first time."""
    ledger.none_left(session, operation.vm_id)
    operation.compensating = operation.anew = False
    operation.rebuilds += 1
    operation.state = OperationState.QUEUED
    operation.due_at = now
    operation.server_id = operation.cloud_request_id = None
    operation.asked_at = operation.called_at = None
    operation.doubts = 0


def say_again(
    session: AsyncSession,
    operation: Operation,
    error: OperationError,
    now: datetime,
    *,
    moved: bool = False,
) -> None:
    """Tell that another attempt follows, and when; `moved`: the deadline did."""
    retrying = events.Retrying(
        command=operation.command,
        server_id=operation.server_id,
        attempt=operation.attempts,
        due_at=operation.due_at or now,
        error=error,
        blocked_on=operation.blocked_on,
        deadline_at=operation.deadline_at if moved else None,
    )
    tell(session, operation, retrying, now)
