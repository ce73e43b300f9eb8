"""The desk: commands that come while transactions are under way share the next one.

Alone, a command is taken at once and waits for nothing. What is refused, or fails, concerns nobody
else: where a shared transaction fails for another reason than an outage, each is taken on its own.
"""

import asyncio
import logging
from collections import deque
from contextvars import Context
from dataclasses import dataclass, replace
from uuid import UUID

from chassis.database import Database, as_projects, is_outage
from chassis.errors import HostlerError
from chassis.origin import here, note_said
from chassis.telemetry import current_traceparent
from services.gateway.idempotency import Key
from services.gateway.intake import Accepted, Asked, Intake

LOG = logging.getLogger(__name__)
MOST = 64
"""Commands of one transaction, at most."""
CREATES_AT_ONCE = 2
"""Transactions: while one waits for the database, the next is put together."""
FEW = 4
"""Commands that wait, at most, for another transaction to be begun beside the one under way. More of
them share the next one: under load each transaction costs more than what its commands do."""


@dataclass(frozen=True)
class _Waiting:
    asked: Asked
    answer: asyncio.Future[Accepted]


class Desk:
    """Takes commands in. Creates stand in a line of their own: no VM is locked in front of them.

    Commands on VMs go one transaction after the other, so that those on one VM keep their order.
    """

    def __init__(self, intake: Intake, database: Database) -> None:
        self._creates = _Line(intake, database, CREATES_AT_ONCE)
        self._others = _Line(intake, database, 1)

    async def accept(self, asked: Asked) -> Accepted:
        """As `Intake.accept`, in a transaction of the desk's, which has committed at the return."""
        asked = replace(asked, traceparent=current_traceparent(), origin=here())
        line = self._creates if asked.vm_id is None else self._others
        accepted = await line.take(asked)
        if not accepted.replayed:
            note_said(asked.command.wire_name())
        return accepted


class _Line:
    def __init__(self, intake: Intake, database: Database, at_once: int) -> None:
        self.intake = intake
        self.database = database
        self.at_once = at_once
        self._waiting: deque[_Waiting] = deque()
        self._at_work = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, asked: Asked) -> Accepted:
        answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(asked, answer))
        if not self._at_work or (len(self._waiting) <= FEW and self._at_work < self.at_once):
            self._at_work += 1
            # In a context of its own: what it does belongs to no single request.
            task = asyncio.create_task(self._work(), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._take_next()
                if self._at_work > 1 and FEW < len(self._waiting) < MOST:
                    return  # whoever else is at work takes them
        finally:
            self._at_work -= 1

    async def _take_next(self) -> None:
        together = self._next()
        try:
            await self._take(together)
        except Exception as error:
            if len(together) > 1 and not is_outage(error):
                LOG.exception("a shared transaction failed; each of its commands goes alone")
                for each in together:
                    await self._alone(each)
            else:
                _fail(together, error)
        except BaseException as error:
            _fail([*together, *self._waiting], error)
            raise

    def _next(self) -> list[_Waiting]:
        """Who comes next, in order: no key and no VM twice, so that each sees what was before it."""
        together: list[_Waiting] = []
        seen: set[Key | UUID] = set()
        while self._waiting and len(together) < MOST:
            asked = self._waiting[0].asked
            marks: set[Key | UUID] = {asked.its_key} if asked.key else set()
            marks |= {asked.vm_id} if asked.vm_id else set()
            if marks & seen:
                break
            seen |= marks
            together.append(self._waiting.popleft())
        return together

    async def _alone(self, each: _Waiting) -> None:
        try:
            await self._take([each])
        except Exception as error:  # noqa: BLE001 - it is the answer to this request
            _fail([each], error)

    async def _take(self, together: list[_Waiting]) -> None:
        projects = sorted({each.asked.caller.project_id for each in together})
        with as_projects(*projects):
            outcomes = await self._accepted(together)
        for each, outcome in zip(together, outcomes, strict=True):
            if each.answer.done():
                continue  # the caller has gone; the command was taken all the same
            if isinstance(outcome, HostlerError):
                each.answer.set_exception(outcome)
            else:
                each.answer.set_result(outcome)

    async def _accepted(self, together: list[_Waiting]) -> list[Accepted | HostlerError]:
        async with self.database.session() as session:
            return await self.intake.accept_many(session, [each.asked for each in together])


def _fail(together: list[_Waiting], error: BaseException) -> None:
    for each in together:
        if not each.answer.done():
            each.answer.set_exception(error)
