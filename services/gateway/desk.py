"""The desk: commands that come while a transaction is under way share the next one.

Alone, a command is taken at once and waits for nothing. Under load transactions begin a pace apart:
each costs the gateway more than what its commands do, so that few and large ones answer sooner.

What is refused, or fails, concerns nobody else: where a shared transaction fails for another reason
than an outage, each is taken on its own.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Iterable
from contextvars import Context
from dataclasses import dataclass, replace
from uuid import UUID

from chassis.database import Database, as_projects, is_outage
from chassis.errors import HostlerError
from chassis.origin import here, note_said
from chassis.rounds import Rounds
from chassis.telemetry import current_traceparent
from services.gateway.idempotency import Key
from services.gateway.intake import Accepted, Asked, Intake

LOG = logging.getLogger(__name__)
MOST = 64
"""Commands of one transaction, at most."""
PACE_SECONDS = 0.01
"""From the begin of a transaction of several commands to that of the next, at least."""


@dataclass(frozen=True)
class _Waiting:
    asked: Asked
    answer: asyncio.Future[Accepted]


class Desk:
    """Takes commands in. Creates stand in a line of their own: no VM is locked in front of them.

    Each line's transactions go one after the other, so that commands on one VM keep their order.
    """

    def __init__(self, intake: Intake, database: Database, pace: float = PACE_SECONDS) -> None:
        self._creates = _Line(intake, database, pace)
        self._others = _Line(intake, database, pace)

    async def accept(self, asked: Asked) -> Accepted:
        """As `Intake.accept`, in a transaction of the desk's, which has committed at the return."""
        asked = replace(asked, traceparent=current_traceparent(), origin=here())
        line = self._creates if asked.vm_id is None else self._others
        accepted = await line.take(asked)
        if not accepted.replayed:
            note_said(asked.command.wire_name())
        return accepted


class _Line:
    def __init__(self, intake: Intake, database: Database, pace: float) -> None:
        self.intake = intake
        self.database = database
        self._waiting: deque[_Waiting] = deque()
        self._rounds = Rounds(pace=pace, grace=math.inf)
        self._at_work: asyncio.Task[None] | None = None

    async def take(self, asked: Asked) -> Accepted:
        answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(asked, answer))
        if self._at_work is None:
            # In a context of its own: what it does belongs to no single request.
            self._at_work = asyncio.create_task(self._work(), context=Context())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                async with self._rounds:
                    await self._take_next()
        except BaseException as error:
            _fail(self._waiting, error)
            self._waiting.clear()
            raise
        finally:
            self._at_work = None

    async def _take_next(self) -> None:
        together = self._next()
        # Nobody waits for a pace who comes alone, one request after the other.
        self._rounds.filled(len(together) / MOST if len(together) > 1 else 1.0)
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
            _fail(together, error)
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


def _fail(together: Iterable[_Waiting], error: BaseException) -> None:
    for each in together:
        if not each.answer.done():
            each.answer.set_exception(error)
