"""What becomes of an operation after an attempt, an observation, a cancel or its deadline.

Every function changes the row, which the caller holds locked, and says what follows from it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.errors import Retry, Terminal
from chassis.outbox import say
from contracts.errors import MEANINGS, ErrorCode
from contracts.operation import events
from contracts.operation.states import OperationError, OperationState
from contracts.vm.commands import Delete
from services.provisioner import endings
from services.provisioner.actions import Left, Taken
from services.provisioner.backoff import backoff
from services.provisioner.claims import Claim, Job
from services.provisioner.measures import count_issued
from services.provisioner.saying import about
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.settling import Failed, Verdict
from services.provisioner.stragglers import next_check
from services.provisioner.tables import Operation, Server

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bug:
    """An attempt ended in an exception that no driver may raise."""

    error: OperationError


Result = Taken | Left | Verdict | Retry | Terminal | Bug


class Outcome:
    """The rules by which attempts are repeated, given up and undone."""

    def __init__(self, settings: ProvisionerSettings, random: Callable[[], float]) -> None:
        self.settings = settings
        self.random = random

    async def record(
        self,
        session: AsyncSession,
        operation: Operation,
        claim: Claim,
        result: Result,
        now: datetime,
    ) -> None:
        """What a worker's attempt came to. The lease ends with it."""
        operation.lease_token = operation.due_at = None
        match claim.job:
            case Job.PERFORM:
                await self._performed(session, operation, claim, result, now)
            case Job.UNDO:
                await self._undone(session, operation, result, now)
            case Job.INQUIRE:
                operation.doubts += 1
                if isinstance(result, Failed):
                    await self.failed(session, operation, result, now)
            case Job.CLEAR:
                operation.doubts += 1
                operation.due_at = next_check(operation.doubts, now)
                if isinstance(result, Left) and result.servers:
                    LOG.warning("removed what came late: %s", ", ".join(result.servers))

    def give_back(self, operation: Operation, claim: Claim, now: datetime) -> None:
        """The worker leaves before its call has ended: the next one looks before it asks."""
        operation.lease_token = None
        operation.due_at = now + self.settings.settle
        if claim.job is Job.PERFORM:
            operation.state = OperationState.QUEUED

    async def failed(
        self, session: AsyncSession, operation: Operation, verdict: Failed, now: datetime
    ) -> None:
        """The cloud took it and failed at it, or the server is gone."""
        create = operation.creates
        if create is not None and create.on_failure == "delete" and not verdict.gone:
            self.compensate(operation, verdict.error, now)
        else:
            await endings.fail(session, operation, verdict.error, now, gone=verdict.gone)

    async def cancel(self, session: AsyncSession, operation: Operation, now: datetime) -> None:
        """On request: end what was never asked of the cloud, undo a create, ignore the rest."""
        if operation.ended_at is not None or operation.compensating:
            return
        if operation.state == OperationState.QUEUED and operation.asked_at is None:
            await endings.cancel(session, operation, now)
        elif operation.creates is not None:
            operation.cancel_requested = True
            if operation.state != OperationState.RUNNING:
                self.compensate(operation, None, now)

    async def expire(self, session: AsyncSession, operation: Operation, now: datetime) -> None:
        """The deadline has passed, for the operation or for undoing it."""
        if operation.compensating:
            error = operation.reason or _error(ErrorCode.DEADLINE, "It could not be cancelled")
            detail = f"{error.detail} (What it made could not be removed in time.)"
            await endings.fail(session, operation, _error(error.code, detail), now)
        else:
            error = _deadline(operation)
            maybe_made = operation.asked_at is not None
            await self.give_up(session, operation, error, now, maybe_made=maybe_made)

    async def give_up(
        self,
        session: AsyncSession,
        operation: Operation,
        error: OperationError,
        now: datetime,
        *,
        maybe_made: bool,
    ) -> None:
        """Fail for good; of a create find first, and remove where that is wanted, what there is."""
        create = operation.creates
        if create is None:
            await endings.fail(session, operation, error, now)
        elif maybe_made:
            self.compensate(operation, error, now)
        elif operation.cancel_requested:
            await endings.cancel(session, operation, now)
        else:
            gone = create.on_failure == "delete"
            await endings.fail(session, operation, error, now, gone=gone)

    def compensate(self, operation: Operation, error: OperationError | None, now: datetime) -> None:
        """Have a worker undo a create; an unanswered request gets the time to show first."""
        known = operation.server_id is not None
        operation.compensating = True
        operation.state = OperationState.QUEUED
        operation.lease_token = operation.blocked_on = None
        operation.error = error.model_dump(mode="json") if error else None
        operation.due_at = now if known else now + self.settings.settle
        operation.deadline_at = now + self.settings.undo_limit
        operation.doubts = 0

    async def _performed(
        self,
        session: AsyncSession,
        operation: Operation,
        claim: Claim,
        result: Result,
        now: datetime,
    ) -> None:
        certain = claim.asked_before is None
        match result:
            case Taken():
                await self._taken(session, operation, result, now)
            case Retry():
                if certain and not result.uncertain:
                    operation.asked_at = None
                await self._retry(session, operation, result, now)
            case Bug(error=error):
                operation.bugs += 1
                if operation.bugs >= self.settings.bug_tries:
                    await self.give_up(session, operation, error, now, maybe_made=True)
                else:
                    again = Retry(error.code, error.detail, uncertain=True)
                    await self._retry(session, operation, again, now)
            case Terminal():
                maybe_made = not certain
                await self.give_up(session, operation, result.error, now, maybe_made=maybe_made)
            case _:
                raise TypeError(f"{result!r} is no outcome of an attempt")

    async def _taken(
        self, session: AsyncSession, operation: Operation, taken: Taken, now: datetime
    ) -> None:
        operation.state = OperationState.WAITING
        operation.server_id = taken.server_id or operation.server_id
        operation.called_at = taken.called_at
        operation.cloud_request_id = taken.cloud_request_id
        operation.error = operation.blocked_on = None
        issued = events.Issued(
            command=operation.command,
            server_id=operation.server_id,
            called_at=taken.called_at,
            cloud_request_id=taken.cloud_request_id,
        )
        await say(session, about(operation, issued, now))
        count_issued(operation, now)
        if operation.cancel_requested:
            self.compensate(operation, None, now)
        elif isinstance(operation.asks, Delete):
            server = await session.get(Server, operation.vm_id)
            if server is not None and server.is_deleted:
                await endings.succeed(session, operation, now)

    async def _retry(
        self, session: AsyncSession, operation: Operation, retry: Retry, now: datetime
    ) -> None:
        operation.error = retry.error.model_dump(mode="json")
        if operation.cancel_requested or now >= operation.deadline_at:
            error, maybe_made = _deadline(operation), operation.asked_at is not None
            await self.give_up(session, operation, error, now, maybe_made=maybe_made)
            return
        delay = self._pause(operation, retry)
        operation.state = OperationState.QUEUED
        operation.blocked_on = retry.blocked_on
        operation.due_at = min(now + delay, operation.deadline_at)
        await self._say_retrying(session, operation, retry, now)

    def _pause(self, operation: Operation, retry: Retry) -> timedelta:
        rules = self.settings
        waits = backoff(operation.attempts, rules.backoff_base, rules.backoff_cap, self.random)
        waits = retry.after if retry.after is not None else waits
        return max(waits, rules.settle) if retry.uncertain else waits

    @staticmethod
    async def _say_retrying(
        session: AsyncSession, operation: Operation, retry: Retry, now: datetime
    ) -> None:
        retrying = events.Retrying(
            command=operation.command,
            server_id=operation.server_id,
            attempt=operation.attempts,
            due_at=operation.due_at or now,
            error=retry.error,
            blocked_on=retry.blocked_on,
        )
        await say(session, about(operation, retrying, now))

    async def _undone(
        self, session: AsyncSession, operation: Operation, result: Result, now: datetime
    ) -> None:
        operation.state = OperationState.QUEUED
        operation.doubts += 1
        match result:
            case Left(servers=servers):
                await self._left(session, operation, servers[0] if servers else None, now)
            case Retry():
                operation.due_at = now + self._pause(operation, result)
                await self._say_retrying(session, operation, result, now)
            case Bug(error=error) if operation.bugs + 1 < self.settings.bug_tries:
                operation.bugs += 1
                operation.due_at = now + self.settings.settle
            case Bug(error=error) | Terminal(error=error):
                why = operation.reason or error
                detail = f"{why.detail} (What it made could not be removed: {error.detail})"
                await endings.fail(session, operation, _error(why.code, detail), now)
            case _:
                raise TypeError(f"{result!r} is no outcome of undoing")

    async def _left(
        self, session: AsyncSession, operation: Operation, left: str | None, now: datetime
    ) -> None:
        operation.server_id = left or operation.server_id
        if removes(operation):
            if left is not None:
                again = self.settings.settle * 2 ** min(operation.doubts - 1, 10)
                operation.due_at = now + min(again, self.settings.backoff_cap)
            elif operation.cancel_requested:
                await endings.cancel(session, operation, now)
            else:
                await endings.fail(session, operation, _reason(operation), now, gone=True)
        else:
            await endings.fail(session, operation, _reason(operation), now)


def removes(operation: Operation) -> bool:
    """Whether undoing a create means to delete what it made, rather than to name it."""
    create = operation.creates
    return operation.cancel_requested or (create is not None and create.on_failure == "delete")


def _reason(operation: Operation) -> OperationError:
    return operation.reason or _error(ErrorCode.INTERNAL, MEANINGS[ErrorCode.INTERNAL].sentence)


def _deadline(operation: Operation) -> OperationError:
    last = operation.reason
    sentence = MEANINGS[ErrorCode.DEADLINE].sentence
    detail = f"{sentence} The last attempt: {last.detail}" if last else sentence
    return _error(ErrorCode.DEADLINE, detail)


def _error(code: ErrorCode, detail: str) -> OperationError:
    return OperationError(code=code, detail=detail)
