"""Listens to Nova's versioned notifications of one account: hints to look at once, and no more.

Nothing is read from one but which server it is about, and whose that is: Nova tells those of all
its tenants. One that is lost, late, forged or doubled costs a sweep at most; while RabbitMQ is gone,
the sweeps go on at their own interval. Only who leads the sweeps of the account listens, since
nobody else could follow a hint.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol, cast
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from pydantic import BaseModel, Field, Json, SecretStr, ValidationError
from sqlalchemy import select

from chassis.among import among
from chassis.database import Database
from chassis.errors import HostlerError
from drivers.base import Tenancies
from services.sync import metrics
from services.sync.sweep import Sweeper
from services.sync.tables import VMS, Stranger

LOG = logging.getLogger(__name__)
EXCHANGE = "nova"
TOPICS = "versioned_notifications.*"
PREFETCH = 200
"""How many come at most in one pause: what bounds the work that a flood makes."""
PAUSE_SECONDS = 0.1
POLL_SECONDS = 0.5
CONNECT_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 30.0
UNKNOWN_EVERY = timedelta(seconds=2)
"""How close hints may follow each other of servers of which nobody knows whose they are."""
ASK_AGAIN = timedelta(seconds=30)
QUEUE = {
    "x-max-length": 1000,
    "x-overflow": "drop-head",
    "x-message-ttl": 60_000,
    "x-expires": 300_000,
}
"""RabbitMQ keeps the latest thousand for a minute, and forgets a queue that nobody reads."""


class Told(NamedTuple):
    """What is read of a notification: its server, and the tenant whose that is, if it says so."""

    server: str
    tenant: str | None


class _Instance(BaseModel):
    uuid: UUID
    tenant_id: str | None = None


class _Object(BaseModel):
    data: _Instance = Field(alias="nova_object.data")


class _Notification(BaseModel):
    event_type: str
    payload: _Object


class _Envelope(BaseModel):
    message: Json[_Notification] = Field(alias="oslo.message")


def told_in(body: bytes) -> Told | None:
    """What a notification tells; None if it is about no server that changed, or is none."""
    for shape in (_Envelope, _Notification):
        with suppress(ValidationError):
            read = shape.model_validate_json(body)
            notification = read.message if isinstance(read, _Envelope) else read
            about = notification.payload.data
            if _is_change(notification.event_type):
                return Told(str(about.uuid), about.tenant_id)
    return None


def _is_change(event_type: str) -> bool:
    """Others tell of services, aggregates, server groups; `exists` is a census and no change."""
    return event_type.startswith("instance.") and event_type != "instance.exists"


class _Consuming(Protocol):
    """A channel of aiormq, as far as its types do not tell: by tag whom it sends what arrives."""

    consumers: Mapping[str, object]


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
        self.clock = sweeper.clock
        self._driver = sweeper.watching.driver
        self._mine: str | None = None
        self._ask_from = self._pay_from = datetime.min.replace(tzinfo=UTC)
        self._owed = False
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
                pause = POLL_SECONDS if self.listening else pause
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
        """Hint if any of these may be about a VM of ours, or a new one; whether it did.

        Where neither the database nor the tenant says whose a server is, the hint may come later.
        """
        metrics.NOTIFICATIONS.labels(self.account, "read").inc(len(bodies))
        told = {each for each in map(told_in, bodies) if each is not None}
        if not told:
            return False
        ours, strangers = await self._known({each.server for each in told})
        unknown = {each for each in told if each.server not in ours | strangers}
        mine = await self._tenant() if unknown else None
        new = {each for each in unknown if mine is not None and each.tenant == mine}
        if any(mine is None or each.tenant is None for each in unknown):
            self._owed = True
        return self._hint() if ours or new else self.pay()

    def pay(self) -> bool:
        """Give the hint that is owed for servers that are perhaps ours, if it is time; whether."""
        return self._owed and self.clock() >= self._pay_from and self._hint()

    def _hint(self) -> bool:
        self._owed, self._pay_from = False, self.clock() + UNKNOWN_EVERY
        metrics.NOTIFICATIONS.labels(self.account, "hint").inc()
        self.hint()
        return True

    async def _tenant(self) -> str | None:
        """The tenant in which the account's servers are; None where that cannot be told now."""
        if self._mine is None and self.clock() >= self._ask_from:
            self._ask_from = self.clock() + ASK_AGAIN
            driver = self._driver()
            with suppress(HostlerError):
                self._mine = await driver.tenant() if isinstance(driver, Tenancies) else None
        return self._mine

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
            tag = await queue.consume(self._arrive)
            consumers = cast("_Consuming", await channel.get_underlay_channel()).consumers
            LOG.info("listening to notifications of %s", self.account)
            self.state, self.listening = "listening", True
            self.hint()  # whatever was said while nobody listened
            await self._follow(lambda: tag in consumers and not channel.is_closed)

    async def _follow(self, hears: Callable[[], bool]) -> None:
        """Take what arrives for as long as this process leads and RabbitMQ sends.

        RabbitMQ may end a consumer alone (`basic.cancel`: its queue is gone, or moves to another
        node): the channel stays open, and nothing ever comes.
        """
        while self.leads():
            if not hears():
                raise ConnectionError("RabbitMQ has ended the consumer")
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._arrived.wait()
            self._arrived.clear()
            messages, self._waiting = self._waiting, []
            if messages:
                await self.take([message.body for message in messages])
                await messages[-1].ack(multiple=True)
                await asyncio.sleep(PAUSE_SECONDS)
            self.pay()

    async def _arrive(self, message: AbstractIncomingMessage) -> None:
        self._waiting.append(message)
        self._arrived.set()

    async def _known(self, servers: Collection[str]) -> tuple[set[str], set[str]]:
        """Which of these are VMs', and which are known to be nobody's."""
        vms = VMS.c.account == self.account, among(VMS.c.server_id, servers)
        theirs = Stranger.account == self.account, among(Stranger.server_id, servers)
        async with self.database.reading() as session:
            ours = set(await session.scalars(select(VMS.c.server_id).where(*vms)))
            return ours, set(await session.scalars(select(Stranger.server_id).where(*theirs)))
