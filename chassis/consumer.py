"""A topic's consumer: records into a service's database, each once; what cannot be handled is kept.

What cannot be read, or fails again and again, goes to `dead.letters` in the same transaction, and
the partition moves on, unless that happens to too many (see `dead_letters.Limit`).
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, is_outage
from chassis.dead_letters import Limit, burial_id, buried, dead_letter, reason_of
from chassis.ids import new_id
from chassis.inbox import take, take_many
from chassis.leases import Clock
from chassis.outbox import say
from chassis.telemetry import CONSUMED, DEAD, STOPPED, Traced, consuming, consuming_many
from chassis.wire import Poison, Record, decode
from contracts.dead_letter import Replay
from contracts.message import Body, Message
from contracts.topics import DEAD_LETTERS, REPLAYS, Topic

LOG = logging.getLogger(__name__)
Handler = Callable[[AsyncSession, Message[Body]], Awaitable[None]]
Batch = Sequence[tuple[Message[Body], Record]]
BatchHandler = Callable[[AsyncSession, Batch], Awaitable[None]]

ToldT = TypeVar("ToldT", bound=Traced)
Reader = Callable[[Record], ToldT]
ReadHandler = Callable[[AsyncSession, Sequence[tuple[ToldT, Record]]], Awaitable[None]]
OnBury = Callable[[AsyncSession, Record], Awaitable[Message[Body] | None]]
TRIES = 3
OUTAGE_SECONDS = 1.0
STOPPED_SECONDS = (1.0, 30.0)
"""The first and the longest pause between two tries of a record while nothing is buried."""


def group(service: str, apart: Topic | None = None) -> str:
    """The consumer group of a service's replicas, or its group for a topic that is taken apart."""
    return f"hostler.{service}" + (f".{apart.name}" if apart else "")


class Consumer:
    """Takes one topic's messages into a service's database, each once, in order per key.

    With `handle_many` in `handle`'s place a whole batch is handled at once, and the inbox is not
    asked: that handler tells by keys of its own what it has had already. `read` is how a record
    becomes a message, by default in full; it raises Poison for one that is none. Without `limit`
    any number of records may become dead letters. One that is `apart` does not wait for batches of
    other topics. What `on_bury` makes of a dead letter's record is said with it; what
    it writes commits with it.
    """

    def __init__(
        self,
        service: str,
        topic: Topic,
        handle: Handler | None,
        database: Database,
        clock: Clock,
        *,
        handle_many: ReadHandler[Any] | None = None,
        read: Reader[Any] = decode,
        limit: Limit | None = None,
        apart: bool = False,
        on_bury: OnBury | None = None,
    ) -> None:
        self.group = group(service)
        self.service = service
        self.topic = topic
        self.handle = handle
        self.handle_many = handle_many
        self.read = read
        self.database = database
        self.clock = clock
        self.limit = limit
        self.apart = apart
        self.on_bury = on_bury

    @property
    def stopped(self) -> str:
        """Why its dead letters are too many for it to go on; empty while it does."""
        return self.limit.stopped if self.limit is not None else ""

    async def consume(self, records: Sequence[Record]) -> None:
        """Handle records in one transaction, or, if that fails, each in one of its own.

        Returns once all are handled or dead letters. While the database is out, or too many would
        be dead letters, it waits, and the offsets stay where they are.
        """
        batch, poison = self._read(records)
        try:
            if self._may_bury(poison, len(records)):
                return await self._while_out(batch, poison)
        except Exception:
            LOG.exception("a batch of %s failed; taking it one by one", self.topic.name)
        for record in records:
            await self._alone(record)
        return None

    async def consume_again(self, record: Record, replay: Message[Replay]) -> None:
        """Handle a dead letter's record, once per `replay`; it fails as any other, without limit."""
        reason = await self._tried(record, replay)
        if reason:
            await self._while_out([], [(record, reason)], replay)

    def _read(self, records: Sequence[Record]) -> tuple[list[tuple[Any, Record]], "Poisoned"]:
        batch: list[tuple[Any, Record]] = []
        poison: Poisoned = []
        for record in records:
            try:
                batch.append((self.read(record), record))
            except Poison as error:
                poison.append((record, str(error)))
        return batch, poison

    def _may_bury(self, poison: "Poisoned", of: int) -> bool:
        return not poison or self.limit is None or self.limit.allows(len(poison), of)

    async def _alone(self, record: Record) -> None:
        pause, longest = STOPPED_SECONDS
        while reason := await self._tried(record):
            if self._may_give_up(record):
                return await self._while_out([], [(record, reason)])
            self._stop(record, reason)
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)
        if self.limit is not None:
            self.limit.go_on()
            STOPPED.labels(self.service, self.topic.name).set(0)
        return None

    def _may_give_up(self, record: Record) -> bool:
        """A dead letter that cannot be taken down is no new one: that would never end."""
        if self.topic is DEAD_LETTERS and not self._read([record])[1]:
            return False
        return self.limit is None or self.limit.allows(1, 1)

    def _stop(self, record: Record, reason: str) -> None:
        place = f"{record.topic}/{record.partition}@{record.offset}"
        LOG.error("too many dead letters: %s is tried again until it succeeds: %s", place, reason)
        STOPPED.labels(self.service, self.topic.name).set(1)
        if self.limit is not None:
            self.limit.stop(f"{place} is tried again until it can be handled: {reason}")

    async def _tried(self, record: Record, replay: Message[Replay] | None = None) -> str:
        """Why a record cannot be handled after some tries; empty if it is."""
        batch, poison = self._read([record])
        if poison:
            return poison[0][1]
        reason = ""
        for attempt in range(1, TRIES + 1):
            try:
                await self._while_out(batch, [], replay)
            except Exception as error:
                LOG.exception("%s@%s failed", self.topic.name, record.offset)
                reason = reason_of(error)
                await asyncio.sleep(0.05 * attempt)
            else:
                return ""
        return reason

    async def _while_out(
        self,
        batch: Sequence[tuple[Any, Record]],
        given_up: "Poisoned",
        replay: Message[Replay] | None = None,
    ) -> None:
        """Handle `batch` and bury `given_up` in one transaction; wait while the database is out."""
        while True:
            try:
                async with self.database.session() as session:
                    if replay is None or await take(session, replay.id, self.clock()):
                        await self._hand_over(session, batch)
                        for record, reason in given_up:
                            await self._bury(session, record, reason, replay)
            except Exception as error:
                if not is_outage(error):
                    raise
                LOG.warning("the database is out; %s waits: %s", self.topic.name, error)
                await asyncio.sleep(OUTAGE_SECONDS)
            else:
                return self._count(batch, given_up)

    def _count(self, batch: Sequence[tuple[Any, Record]], given_up: "Poisoned") -> None:
        for said, count in Counter(message.type for message, _ in batch).items():
            CONSUMED.labels(self.service, self.topic.name, said).inc(count)
        if given_up:
            DEAD.labels(self.service, self.topic.name).inc(len(given_up))
        if self.limit is not None:
            self.limit.note(len(batch) + len(given_up), len(given_up))

    async def _hand_over(self, session: AsyncSession, batch: Sequence[tuple[Any, Record]]) -> None:
        if self.handle_many is not None and batch:
            with consuming_many(self.service, self.topic.name, [message for message, _ in batch]):
                await self.handle_many(session, batch)
        elif self.handle is not None:
            await self._hand_over_each(session, self.handle, [message for message, _ in batch])

    async def _hand_over_each(
        self, session: AsyncSession, handle: Handler, messages: list[Message[Body]]
    ) -> None:
        new = await take_many(session, messages, self.clock())
        for message in messages:
            if message.id in new:
                new.discard(message.id)
                with consuming(self.service, self.topic.name, message):
                    await handle(session, message)

    async def _bury(
        self,
        session: AsyncSession,
        record: Record,
        reason: str,
        replay: Message[Replay] | None,
    ) -> None:
        """Once, also of a record that comes again because its offset was not committed.

        What is taken is the burial: the letter has an id of its own, by which this service may
        hear of it as any other.
        """
        burial = burial_id(record, self.group, replay.id if replay is not None else None)
        if not await take(session, burial, self.clock()):
            return
        letter = Message(
            id=new_id(),
            source=f"hostler/{self.service}",
            time=self.clock(),
            subject=record.key or f"{record.topic}/{record.partition}",
            project_id=record.headers.get("ce_projectid", ""),
            actor=f"hostler/{self.service}",
            data=dead_letter(record, self.group, reason),
        )
        LOG.error("dead letter %s/%s@%s: %s", record.topic, record.partition, record.offset, reason)
        await say(session, letter)
        if self.on_bury is not None and (more := await self.on_bury(session, record)):
            await say(session, more)


Poisoned = list[tuple[Record, str]]
"""Records with the reason why each becomes a dead letter."""


class Replayer(Consumer):
    """Gives its own group's dead letters back to the consumers of the topics that they came from.

    What fails again is a new dead letter, and counts towards no limit: somebody asked for it.
    """

    def __init__(
        self, service: str, consumers: Sequence[Consumer], database: Database, clock: Clock
    ) -> None:
        super().__init__(service, REPLAYS, None, database, clock, read=_read_replay)
        self.consumers = consumers

    async def consume(self, records: Sequence[Record]) -> None:
        """Have each letter handled in a transaction of its own; those of other groups are passed."""
        batch, poison = self._read(records)
        await self._while_out([], poison)
        for message, _ in batch:
            if message.data.letter.consumer == self.group:
                await self._give_back(message)

    async def _give_back(self, replay: Message[Replay]) -> None:
        record = buried(replay.data.letter)
        for consumer in self.consumers:
            if consumer.topic.name == record.topic and consumer is not self:
                return await consumer.consume_again(record, replay)
        reason = f"{self.group} does not consume {record.topic}"
        return await self._while_out([], [(record, reason)], replay)


def _read_replay(record: Record) -> Message[Replay]:
    message = decode(record)
    if not isinstance(message.data, Replay):
        raise Poison(f"{message.type} does not belong here")
    try:
        buried(message.data.letter)
    except ValueError as error:
        raise Poison(f"the letter's value: {error}") from error
    return cast("Message[Replay]", message)
