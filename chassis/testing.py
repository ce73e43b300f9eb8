"""What tests of services share: a clock to turn, messages without Kafka, and kills at every step."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import NoReturn, TypeVar

from sqlalchemy import delete, select

from chassis.database import Database
from chassis.service import Service
from chassis.tables import OUTBOX
from chassis.wire import Record, decode, encode
from contracts.message import Body, Message

T = TypeVar("T")
SessionT = TypeVar("SessionT")


class VirtualClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def advance(self, **how_far: float) -> datetime:
        """Go on by `seconds=`, `minutes=` …; the new time."""
        self.now += timedelta(**how_far)
        return self.now


async def unsaid(database: Database) -> list[Record]:
    """Take what waits in a service's outbox, in order, as the relay would."""
    async with database.session() as session:
        rows = (await session.execute(select(OUTBOX).order_by(OUTBOX.c.id))).all()
        await session.execute(delete(OUTBOX).where(OUTBOX.c.id.in_([row.id for row in rows])))
    return [Record(row.topic, row.key, row.headers, row.body, offset=row.id) for row in rows]


async def said(database: Database) -> list[Message[Body]]:
    """The same as messages."""
    return [decode(record) for record in await unsaid(database)]


async def hear(service: Service, *messages: Message[Body]) -> None:
    """Have a service take messages as if they came from Kafka."""
    for record in map(encode, messages):
        for consumer in service.consumers:
            if consumer.topic.name == record.topic:
                await consumer.consume([record])


class Killed(BaseException):
    """The process is killed here. No `except Exception` of a service lives through it."""


class Way(Enum):
    """What is done to one step."""

    NOTHING = auto()
    AGAIN = auto()
    """It happens twice: a message is delivered again, an answer is lost and so asked for again."""
    KILLED_BEFORE = auto()
    KILLED_AFTER = auto()


class Steps:
    """The steps of a scenario, by name and in order; to the one at `chosen` something is done.

    A bench passes through here each message that a service takes, each transaction that it commits
    and each call that it makes. It plays on after a kill with `outlive`.
    """

    def __init__(self, way: Way = Way.NOTHING, chosen: int = -1) -> None:
        self.way = way
        self.chosen = chosen
        self.names: list[str] = []
        self.repeatable: list[bool] = []
        self._dead = asyncio.Event()

    async def take(
        self,
        name: str,
        do: Callable[[], Awaitable[T]],
        again: Callable[[], Awaitable[T]] | None = None,
    ) -> T:
        """Do one step. `again` is how it comes about a second time; None: it does not by itself."""
        self._live()
        self.names.append(name)
        self.repeatable.append(again is not None)
        if len(self.names) - 1 != self.chosen:
            return await do()
        if self.way is Way.KILLED_BEFORE:
            self._die()
        result = await do()
        if self.way is Way.KILLED_AFTER:
            self._die()
        return result if again is None else await again()

    @asynccontextmanager
    async def committing(
        self, session: AbstractAsyncContextManager[SessionT], wrote: Callable[[], bool]
    ) -> AsyncGenerator[SessionT]:
        """A transaction as a step: killed before it commits nothing of it is left, after, all.

        One that has written nothing is none.
        """
        self._live()
        mine = False
        async with session as opened:
            yield opened
            self._live()
            if wrote():
                mine = len(self.names) == self.chosen
                self.names.append("commit")
                self.repeatable.append(False)
            if mine and self.way is Way.KILLED_BEFORE:
                self._die()
        if mine and self.way is Way.KILLED_AFTER:
            self._die()

    async def outlive(
        self, do: Callable[[], Awaitable[T]], revive: Callable[[], Awaitable[None]]
    ) -> T:
        """Do something; if the process is killed over it, `revive` it and do it again.

        Whichever of its tasks was killed: the others do nothing any more.
        """
        doing, dying = asyncio.ensure_future(do()), asyncio.ensure_future(self._dead.wait())
        await asyncio.wait({doing, dying}, return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if not self._dead.is_set():
            return await doing
        doing.cancel()
        await asyncio.wait({doing})
        if not doing.cancelled():
            doing.exception()
        self._dead.clear()
        await revive()
        return await do()

    def _die(self) -> NoReturn:
        self._dead.set()
        raise Killed

    def _live(self) -> None:
        """What a dead process would still do comes to nothing."""
        if self._dead.is_set():
            raise Killed


Scenario = Callable[[Steps], Awaitable[object]]
"""Plays an operation on a new bench whose steps pass through the given `Steps`; returns how it ended."""


async def crash_at_every_step(scenario: Scenario) -> None:
    """Once undisturbed, then killed right before and right after each step: the end is the same."""
    await _at_every_step(scenario, (Way.KILLED_BEFORE, Way.KILLED_AFTER))


async def repeat_every_step(scenario: Scenario) -> None:
    """Once undisturbed, then with each step that can come about twice doing so: the end is the same."""
    await _at_every_step(scenario, (Way.AGAIN,))


async def _at_every_step(scenario: Scenario, ways: Sequence[Way]) -> None:
    plain = Steps()
    wanted = await scenario(plain)
    taken = range(len(plain.names))
    chosen = [
        (way, n) for way in ways for n in taken if way is not Way.AGAIN or plain.repeatable[n]
    ]
    if not chosen:
        raise AssertionError("the scenario takes no step that this can be done to")
    for way, number in chosen:
        steps = Steps(way, number)
        ended = await scenario(steps)
        where = f"step {number} ({plain.names[number]}) {way.name.lower().replace('_', ' ')}"
        if ended != wanted:
            raise AssertionError(f"{where}: it ended {ended!r}, not {wanted!r}")
        if len(steps.names) <= number:
            raise AssertionError(f"{where}: the scenario never came there")
