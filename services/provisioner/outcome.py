"""What becomes of an operation after a worker's attempt: the rules of repeating and giving up.

Every function changes the row, which the caller holds locked, and tells what follows from it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.errors import Retry, Terminal
from contracts.errors import MEANINGS, ErrorCode
from contracts.operation import events
from contracts.operation.states import OperationError, OperationState
from contracts.vm.commands import Delete
from services.provisioner import endings, ledger, undoing
from services.provisioner.actions import Taken, Withdrawn
from services.provisioner.backoff import backoff
from services.provisioner.claims import Claim, Job
from services.provisioner.deadlines import past
from services.provisioner.measures import count_issued
from services.provisioner.removals import Left
from services.provisioner.saying import tell
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.settling import Failed, Verdict
from services.provisioner.stragglers import next_check
from services.provisioner.tables import Operation, Server

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bug:
    """An attempt ended in an exception that no driver may raise."""

    error: OperationError


Result = Taken | Withdrawn | Left | Verdict | Retry | Terminal | Bug


class Outcome:
    """Writes down what attempts came to."""

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
                self._inquired(session, operation, claim, result, now)
            case Job.CLEAN:
                await self._cleaned(session, operation, result, now)
            case Job.CLEAR:
                await self._cleared(session, operation, result, now)

    def give_back(self, operation: Operation, claim: Claim, now: datetime) -> None:
        """The worker leaves before its call has ended: the next one looks before it asks."""
        operation.lease_token = None
        operation.due_at = now + self.settings.settle
        if claim.job is Job.PERFORM:
            operation.state = OperationState.QUEUED

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
            case Withdrawn():
                endings.cancel(session, operation, now)
            case Retry():
                if certain and not result.uncertain:
                    operation.asked_at = None
                self._retry(session, operation, result, now)
            case Bug(error=error):
                operation.bugs += 1
                if operation.bugs >= self.settings.bug_tries:
                    self._give_up(session, operation, error, now, maybe_made=True)
                else:
                    again = Retry(error.code, error.detail, uncertain=True)
                    self._retry(session, operation, again, now)
            case Terminal():
                maybe_made = not certain
                self._give_up(session, operation, result.error, now, maybe_made=maybe_made)
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
        _say_issued(session, operation, taken.called_at, now)
        count_issued(operation, now)
        if operation.creates is not None:
            operation.due_at = now + self.settings.build_timeout
            ledger.made(session, operation)
            if operation.cancel_requested:
                undoing.compensate(operation, None, now, self.settings)
            return
        operation.anew = False
        if isinstance(operation.asks, Delete):
            server = await session.get(Server, operation.vm_id)
            if server is not None and server.is_deleted:
                leave(operation, now)

    def _retry(
        self, session: AsyncSession, operation: Operation, retry: Retry, now: datetime
    ) -> None:
        operation.error = retry.error.model_dump(mode="json")
        if operation.cancel_requested and operation.asked_at is None:
            endings.cancel(session, operation, now)
            return
        undone = operation.cancel_requested and operation.creates is not None
        if undone or now >= operation.deadline_at:
            error, maybe_made = past(operation), operation.asked_at is not None
            self._give_up(session, operation, error, now, maybe_made=maybe_made)
            return
        delay = self._pause(operation.attempts, retry)
        operation.state = OperationState.QUEUED
        operation.blocked_on = retry.blocked_on
        operation.due_at = min(now + delay, operation.deadline_at)
        undoing.say_again(session, operation, retry.error, now)

    def _give_up(
        self,
        session: AsyncSession,
        operation: Operation,
        error: OperationError,
        now: datetime,
        *,
        maybe_made: bool,
    ) -> None:
        rules = self.settings
        undoing.give_up(session, operation, error, now, rules, maybe_made=maybe_made)

    def _pause(self, attempts: int, retry: Retry) -> timedelta:
        """As long as the cloud asks for, else ever longer; one that asks for nothing is not believed."""
        rules = self.settings
        waits = backoff(attempts, rules.backoff_base, rules.backoff_cap, self.random)
        if retry.after is not None and retry.after >= rules.backoff_base:
            waits = retry.after
        return max(waits, rules.settle) if retry.uncertain else waits

    def _inquired(
        self,
        session: AsyncSession,
        operation: Operation,
        claim: Claim,
        result: Result,
        now: datetime,
    ) -> None:
        """The cloud was asked about what waits; a create is asked about again until it ends.

        If the server of a delete was seen gone meanwhile, what was asked is no matter any more.
        """
        if operation.leaving:
            operation.due_at = now
            return
        operation.doubts += 1
        if isinstance(result, Failed):
            undoing.failed(session, operation, result, now, self.settings)
        elif operation.creates is not None:
            asked_meanwhile = operation.anew and not claim.operation.anew
            operation.due_at = now if asked_meanwhile else now + self.settings.backoff_cap
            if claim.operation.anew and operation.called_at is not None:
                operation.anew = False
                _say_issued(session, operation, operation.called_at, now)

    async def _undone(
        self, session: AsyncSession, operation: Operation, result: Result, now: datetime
    ) -> None:
        operation.state = OperationState.QUEUED
        operation.doubts += 1
        match result:
            case Left():
                await self._left(session, operation, result, now)
            case Retry():
                operation.due_at = now + self._pause(operation.doubts, result)
                undoing.say_again(session, operation, result.error, now)
            case Bug(error=error) if operation.bugs + 1 < self.settings.bug_tries:
                operation.bugs += 1
                operation.due_at = now + self.settings.settle
            case Bug(error=error) | Terminal(error=error):
                why = operation.reason or error
                detail = f"{why.detail} (What it made could not be removed: {error.detail})"
                error = OperationError(code=why.code, detail=detail)
                endings.fail(session, operation, error, now)
            case _:
                raise TypeError(f"{result!r} is no outcome of undoing")

    async def _left(
        self, session: AsyncSession, operation: Operation, left: Left, now: datetime
    ) -> None:
        operation.server_id = left.servers[0] if left.servers else operation.server_id
        await _enter(session, operation, left, now)
        if not undoing.removes(operation):
            endings.fail(session, operation, _reason(operation), now)
        elif left.anything:
            operation.due_at = now + self._until_next_look(operation)
        elif operation.cancel_requested:
            endings.cancel(session, operation, now)
        elif operation.anew:
            undoing.begin_again(session, operation, now)
        else:
            endings.fail(session, operation, _reason(operation), now, gone=True)

    async def _cleaned(
        self, session: AsyncSession, operation: Operation, result: Result, now: datetime
    ) -> None:
        """A delete goes on until nothing is left, or its deadline tells what is."""
        operation.doubts += 1
        match result:
            case Left() if not result.anything:
                endings.succeed(session, operation, now)
            case Left():
                await _enter(session, operation, result, now)
                operation.error = _remains(result).model_dump(mode="json")
                operation.due_at = now + self._until_next_look(operation)
            case Retry():
                operation.error = result.error.model_dump(mode="json")
                operation.due_at = now + self._pause(operation.doubts, result)
            case Terminal(error=error) | Bug(error=error):
                operation.error = error.model_dump(mode="json")
                operation.due_at = now + self.settings.backoff_cap
            case _:
                raise TypeError(f"{result!r} is no outcome of cleaning up")

    async def _cleared(
        self, session: AsyncSession, operation: Operation, result: Result, now: datetime
    ) -> None:
        operation.doubts += 1
        operation.due_at = next_check(operation.doubts, now)
        if not isinstance(result, Left):
            return
        await _enter(session, operation, result, now)
        if result.servers:
            LOG.warning("removed what came late: %s", ", ".join(result.servers))
        elif operation.server_id is not None:
            await ledger.none_besides(session, operation.vm_id, operation.server_id, now)

    def _until_next_look(self, operation: Operation) -> timedelta:
        again = self.settings.settle * 2 ** min(operation.doubts - 1, 10)
        return min(again, self.settings.backoff_cap)


def leave(operation: Operation, now: datetime) -> None:
    """The server of a delete is gone: what belonged to it is next."""
    operation.leaving = True
    operation.doubts = 0
    operation.due_at = now


async def _enter(session: AsyncSession, operation: Operation, left: Left, now: datetime) -> None:
    known = operation.server_id
    servers = [each for each in left.servers if each != known]
    await ledger.found(session, operation, now, servers=servers, belongings=left.belongings)


def _say_issued(
    session: AsyncSession, operation: Operation, called_at: datetime, now: datetime
) -> None:
    issued = events.Issued(
        command=operation.command,
        server_id=operation.server_id,
        called_at=called_at,
        cloud_request_id=operation.cloud_request_id,
    )
    tell(session, operation, issued, now)


def _remains(left: Left) -> OperationError:
    things = [f"server {server_id}" for server_id in left.servers]
    names = ", ".join([*things, *(f"{each.kind} {each.id}" for each in left.belongings)])
    why = f" ({left.refusal.detail})" if left.refusal else ""
    code = left.refusal.code if left.refusal else ErrorCode.STALLED
    return OperationError(code=code, detail=f"There still is {names}{why}.")


def _reason(operation: Operation) -> OperationError:
    sentence = MEANINGS[ErrorCode.INTERNAL].sentence
    return operation.reason or OperationError(code=ErrorCode.INTERNAL, detail=sentence)
