"""Listens to Nova's versioned notifications of one account: hints to look at once, and no more.

Nothing is read from one but which server it is about. One that is lost, late, forged or doubled
costs a sweep at most; while RabbitMQ is gone, the sweeps go on at their own interval. Only who
leads the sweeps of the account listens, since nobody else could follow a hint.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from pydantic import BaseModel, Field, Json, SecretStr, ValidationError
from sqlalchemy import select

from chassis.among import among
from chassis.database import Database
from services.sync import metrics
from services.sync.sweep import Sweeper
from services.sync.tables import Stranger

LOG = logging.getLogger(__name__)
EXCHANGE = "nova"
TOPICS = "versioned_notifications.*"
PREFETCH = 200
"""How many come at most in one pause: what bounds the work that a flood makes."""
PAUSE_SECONDS = 0.1
POLL_SECONDS = 0.5
CONNECT_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 30.0
QUEUE = {
    "x-max-length": 1000,
    "x-overflow": "drop-head",
    "x-message-ttl": 60_000,
    "x-expires": 300_000,
}
"""RabbitMQ keeps the latest thousand for a minute, and forgets a queue that nobody reads."""


class _Instance(BaseModel):
    uuid: UUID


class _Object(BaseModel):
    data: _Instance = Field(alias="nova_object.data")


class _Notification(BaseModel):
    payload: _Object


class _Envelope(BaseModel):
    message: Json[_Notification] = Field(alias="oslo.message")


def server_in(body: bytes) -> str | None:
    """The id of the server that a notification is about; None if it is about none, or is none."""
    for shape in (_Envelope, _Notification):
        with suppress(ValidationError):
            read = shape.model_validate_json(body)
            notification = read.message if isinstance(read, _Envelope) else read
            return str(notification.payload.data.uuid)
    return None


class OwnedConnection(aio_pika.Connection):
    """Closed by who opened it. The library's own end would begin a coroutine that nobody awaits."""

    def __del__(self) -> None:
        """Nothing: `async with` has closed it, or it never opened."""


class Notifications:
    """Has one account's changes swept when Nova says that something happened there."""

    def __init__(self, sweeper: Sweeper, url: SecretStr) -> None:
        self.account = sweeper.account
        self.database: Database = sweeper.database
        self.leads: Callable[[], bool] = lambda: sweeper.leads
        self.hint = sweeper.hint
        self.state = "not connected yet"
        self.listening = False
        self._url = url
        self._waiting: list[AbstractIncomingMessage] = []
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Listen whenever this process leads the sweeps, for ever."""
        pause = POLL_SECONDS
        while True:
            try:
                if self.leads():
                    await self._listen()
                    pause = POLL_SECONDS
                else:
                    self.state = "another replica listens"
            except (*CONNECTION_EXCEPTIONS, TimeoutError) as error:
                self.state = f"{type(error).__name__}: {error}"[:300]
                LOG.warning("no notifications of %s: %s", self.account, self.state)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            finally:
                self.listening = False
            await asyncio.sleep(pause)

    async def probe(self) -> str:
        """For /readyz: whether they are heard. Raises with the reason if they are not."""
        if self.leads() and not self.listening:
            raise ConnectionError(self.state)
        return self.state

    async def take(self, bodies: Sequence[bytes]) -> bool:
        """Hint if any of these may be about a VM of ours, or a new one; whether it did."""
        servers = {server for server in map(server_in, bodies) if server is not None}
        metrics.NOTIFICATIONS.labels(self.account, "read").inc(len(bodies))
        if not servers or not servers - await self._strangers(servers):
            return False
        metrics.NOTIFICATIONS.labels(self.account, "hint").inc()
        self.hint()
        return True

    async def _listen(self) -> None:
        url = self._url.get_secret_value()
        async with await aio_pika.connect(
            url, timeout=CONNECT_SECONDS, connection_class=OwnedConnection
        ) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=PREFETCH)
            exchange = await channel.get_exchange(EXCHANGE, ensure=True)
            name = f"hostler.sync.{self.account}"
            queue = await channel.declare_queue(name, durable=True, arguments=dict(QUEUE))
            await queue.bind(exchange, TOPICS)
            self._waiting, self._arrived = [], asyncio.Event()
            await queue.consume(self._arrive)
            LOG.info("listening to notifications of %s", self.account)
            self.state, self.listening = "listening", True
            self.hint()  # whatever was said while nobody listened
            await self._follow(queue)

    async def _follow(self, queue: AbstractQueue) -> None:
        while self.leads() and not queue.channel.is_closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._arrived.wait()
            self._arrived.clear()
            messages, self._waiting = self._waiting, []
            if messages:
                await self.take([message.body for message in messages])
                await messages[-1].ack(multiple=True)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _arrive(self, message: AbstractIncomingMessage) -> None:
        self._waiting.append(message)
        self._arrived.set()

    async def _strangers(self, servers: Collection[str]) -> set[str]:
        mine = Stranger.account == self.account, among(Stranger.server_id, servers)
        async with self.database.reading() as session:
            return set(await session.scalars(select(Stranger.server_id).where(*mine)))
