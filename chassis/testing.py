"""What tests of services share: a clock to turn, and ways to feed and hear a service without Kafka."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select

from chassis.database import Database
from chassis.service import Service
from chassis.tables import OUTBOX
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
    for record in map(encode, messages):
        for consumer in service.consumers:
            if consumer.topic.name == record.topic:
                await consumer.consume([record])
