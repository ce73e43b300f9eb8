"""What tests of services share: a clock to turn, and a Kafka that is only lists in memory."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select

from chassis.database import Database
from chassis.migrations import migrate
from chassis.outbox import OUTBOX
from chassis.service import Service
from chassis.wire import Record, decode, encode
from contracts.message import Body, Message


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
    await _deliver(service, [encode(message) for message in messages])


async def _deliver(service: Service, records: Iterable[Record]) -> None:
    for record in records:
        for consumer in service.consumers:
            if consumer.topic.name == record.topic:
                await consumer.consume([record])


class World:
    """Some services and, in Kafka's place, a log of everything that they said.

    `times` is how often each record is delivered: 2 shows that a repeated message changes nothing.
    """

    def __init__(self, *services: Service, times: int = 1) -> None:
        self.services = services
        self.times = times
        self.log: list[Message[Body]] = []

    async def migrate(self) -> None:
        """Make every service's tables."""
        for service in self.services:
            await migrate(service.database)

    async def pump(self) -> None:
        """Carry what was said to those who hear it, until nobody says any more."""
        while records := [r for s in self.services for r in await unsaid(s.database)]:
            self.log.extend(decode(record) for record in records)
            for service in self.services:
                for _ in range(self.times):
                    await _deliver(service, records)

    async def close(self) -> None:
        """Let go of every service's connections."""
        for service in self.services:
            await service.database.close()
