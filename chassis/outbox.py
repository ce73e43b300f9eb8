"""The transactional outbox: what a service says commits with the state that it says it about.

`say` writes a row in the caller's transaction. One relay per service (by lease) publishes the rows
in order and deletes them; killed in between, it publishes again, and the inbox of each consumer
takes the same message once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Select, delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among, among_named
from chassis.database import Database
from chassis.leases import LeaseLostError, NamedLease
from chassis.origin import attributed, note_said
from chassis.rounds import Rounds
from chassis.rows import Row, Rows, insert_into
from chassis.tables import OUTBOX
from chassis.telemetry import carried
from chassis.wire import Record, encode
from contracts.message import Body, Message

LOG = logging.getLogger(__name__)
BATCH = 500
IDLE_SECONDS = 0.2


async def say(session: AsyncSession, *messages: Message[Body]) -> None:
    """Leave messages to be published, in this order, once the transaction has committed."""
    await insert_and_say(session, messages)


async def insert_and_say(
    session: AsyncSession, messages: Sequence[Message[Body]], *rows_of: Rows
) -> None:
    """The same with what the messages are about: on Postgres one statement (`insert_into`)."""
    await insert_into(session, *rows_of, (OUTBOX, [_row(message) for message in messages]))
    session.info["said"] = True
    note_said(*[message.type for message in messages])


def _row(message: Message[Body]) -> Row:
    record = encode(attributed(message))
    return {
        "topic": record.topic,
        "key": record.key,
        "headers": {**carried(), **record.headers},
        "body": record.value,
        "said_at": message.time,
    }


async def pending(session: AsyncSession) -> tuple[int, datetime | None]:
    """How many messages wait to be published, and since when the oldest one does."""
    row = (await session.execute(select(func.count(), func.min(OUTBOX.c.said_at)))).one()
    return int(row[0]), row[1]


class Publisher(Protocol):
    """Whatever can put records on Kafka, in order per key, and say when they are safe there."""

    def publish(self, records: Sequence[Record]) -> Awaitable[None]:
        """Return once every record is acknowledged; raise if one is not."""
        ...


class Relay:
    """Moves what was said to Kafka. Runs in every replica; the lease lets one work at a time."""

    def __init__(self, database: Database, publisher: Publisher, lease: NamedLease) -> None:
        self.database = database
        self.publisher = publisher
        self.lease = lease
        self.rounds = Rounds()
        self._published: list[int] = []
        """The ids of rows that are on Kafka and go with the next look for more."""

    async def run(self) -> None:
        """Publish for ever. A failure is the caller's to retry; nothing is lost by it.

        If the lease is lost amid a round, its holder publishes what is left, and again what is not
        deleted.
        """
        try:
            while True:
                self.database.said.clear()
                if not (await self.lease.hold() and await self._published_some()):
                    await self._rest()
        finally:
            await self._delete()
            await self.lease.release()

    async def publish_some(self) -> int:
        """Publish the oldest messages and delete them; how many there were."""
        count = await self._publish_next()
        await self._delete()
        return count

    async def _published_some(self) -> bool:
        try:
            return await self._round() > 0
        except LeaseLostError:
            LOG.warning("another process relays by now; it was paused, or the database was slow")
            return False

    async def _round(self) -> int:
        async with self.rounds:
            return await self._publish_next()

    async def _publish_next(self) -> int:
        """Publish the oldest messages that are not published; these go with the next look."""
        rows = await self._next()
        if rows:
            await self.publisher.publish([Record(r.topic, r.key, r.headers, r.body) for r in rows])
            self._published = [row.id for row in rows]
        return len(rows)

    async def _next(self) -> Sequence[Any]:
        if self._published and self.database.is_postgres:
            # In `reading` a statement is a transaction of its own.
            async with self.database.reading() as session:
                rows = (await session.execute(_SWAP, {"done": self._published})).all()
            self._published = []
            return rows
        await self._delete()
        async with self.database.reading() as session:
            return (await session.execute(_OLDEST)).all()

    async def _delete(self) -> None:
        if self._published:
            async with self.database.session() as session:
                await session.execute(delete(OUTBOX).where(among(OUTBOX.c.id, self._published)))
            self._published = []

    async def _rest(self) -> None:
        """Not `wait_for`, which in Python 3.11 loses a cancel that comes with the wake-up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_SECONDS):
                await self.database.said.wait()


_OLDEST = select(OUTBOX).order_by(OUTBOX.c.id).limit(BATCH)


def _swap() -> Select[Any]:
    """Postgres: delete what is published and read what comes next, in one round trip."""
    published = among_named(OUTBOX.c.id, "done")
    gone = delete(OUTBOX).where(published).returning(OUTBOX.c.id).cte("gone")
    return _OLDEST.where(~exists().where(gone.c.id == OUTBOX.c.id))


_SWAP = _swap()
