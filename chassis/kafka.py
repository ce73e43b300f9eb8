"""Kafka as a service uses it: one FastStream broker, batches in, acknowledged batches out.

A consumer commits its offsets after its rows are committed. What cannot be read, or fails again
and again, goes to `dead.letters` in the same transaction, and the partition moves on.
"""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from aiokafka import ConsumerRecord
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, is_outage
from chassis.ids import new_id
from chassis.inbox import take
from chassis.leases import Clock
from chassis.outbox import say
from chassis.settings import Settings
from chassis.telemetry import CONSUMED, DEAD, Traced, consuming, consuming_many
from chassis.wire import Poison, Record, dead_letter, decode, received
from contracts.message import Body, Message
from contracts.topics import Topic

LOG = logging.getLogger(__name__)
Handler = Callable[[AsyncSession, Message[Body]], Awaitable[None]]
Batch = Sequence[tuple[Message[Body], Record]]
BatchHandler = Callable[[AsyncSession, Batch], Awaitable[None]]

ToldT = TypeVar("ToldT", bound=Traced)
Reader = Callable[[Record], ToldT]
ReadHandler = Callable[[AsyncSession, Sequence[tuple[ToldT, Record]]], Awaitable[None]]
TRIES = 3
OUTAGE_SECONDS = 1.0


def broker(settings: Settings, client_id: str) -> KafkaBroker:
    """A broker, not yet connected, as the settings say."""
    return KafkaBroker(
        settings.kafka_bootstrap_servers.split(","),
        client_id=client_id,
        acks="all",
        enable_idempotence=settings.kafka_enable_idempotence,
        linger_ms=2,
        request_timeout_ms=10_000,
        allow_auto_create_topics=False,
        ack_policy=AckPolicy.NACK_ON_ERROR,
        security=_security(settings),
        logger=LOG,
        apply_types=False,
        graceful_timeout=float(settings.drain_seconds),
    )


def connection(settings: Settings) -> dict[str, Any]:
    """How a bare aiokafka client connects, as keyword arguments."""
    protocol = settings.kafka_security_protocol
    sasl = {
        "sasl_mechanism": settings.kafka_sasl_mechanism,
        "sasl_plain_username": settings.kafka_username,
        "sasl_plain_password": settings.kafka_password.get_secret_value(),
    }
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "security_protocol": protocol,
        "ssl_context": _ssl_context(settings) if protocol.endswith("SSL") else None,
        **(sasl if protocol.startswith("SASL") else {}),
    }


async def knock(settings: Settings) -> None:
    """Raise OSError unless one of the brokers takes connections.

    Asked before the broker is started, which leaves a half-started producer behind if it fails.
    """
    refused = ConnectionError("no broker is named")
    for address in settings.kafka_bootstrap_servers.split(","):
        host, _, port = address.rpartition(":")
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 5)
        except OSError as error:
            refused = ConnectionError(f"Kafka at {address}: {str(error) or 'it does not answer'}")
        else:
            writer.close()
            return
    raise refused


def _security(settings: Settings) -> BaseSecurity | None:
    protocol = settings.kafka_security_protocol
    context = _ssl_context(settings) if protocol.endswith("SSL") else None
    if not protocol.startswith("SASL"):
        return BaseSecurity(ssl_context=context, use_ssl=True) if context else None
    mechanisms = {
        "PLAIN": SASLPlaintext,
        "SCRAM-SHA-256": SASLScram256,
        "SCRAM-SHA-512": SASLScram512,
    }
    return mechanisms[settings.kafka_sasl_mechanism](
        username=settings.kafka_username,
        password=settings.kafka_password.get_secret_value(),
        ssl_context=context,
        use_ssl=context is not None,
    )


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
    if settings.kafka_ssl_certfile:
        context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile)
    return context


class BrokerPublisher:
    """Publishes records over a FastStream broker: in order per key, all acknowledged."""

    def __init__(self, made: KafkaBroker) -> None:
        self.broker = made

    async def publish(self, records: Sequence[Record]) -> None:
        """Return once Kafka has them all; raise if it does not take one.

        A record is sent when the one before it with its key is safe: were that one refused and
        published again, it would come behind.
        """
        for wave in waves(records):
            waiting = [
                await self.broker.publish(
                    r.value, r.topic, key=r.key.encode(), headers=r.headers, no_confirm=True
                )
                for r in wave
            ]
            for answer in await asyncio.gather(*waiting, return_exceptions=True):
                if isinstance(answer, BaseException):
                    raise answer


def waves(records: Sequence[Record]) -> list[list[Record]]:
    """The records in order, in groups that hold no topic's key twice."""
    groups: list[list[Record]] = []
    times: Counter[tuple[str, str]] = Counter()
    for record in records:
        place = times[record.topic, record.key]
        times[record.topic, record.key] += 1
        if place == len(groups):
            groups.append([])
        groups[place].append(record)
    return groups


def group(service: str) -> str:
    """The consumer group of a service's replicas."""
    return f"hostler.{service}"


def subscribe(made: KafkaBroker, consumers: Sequence["Consumer"], batch: int) -> None:
    """Have the broker deliver all topics of a service's consumers, over one connection and group."""
    by_topic = {consumer.topic.name: consumer for consumer in consumers}

    async def consume(records: list[Record]) -> None:
        for topic, consumer in by_topic.items():
            if its := [record for record in records if record.topic == topic]:
                await consumer.consume(its)

    subscriber = made.subscriber(
        *by_topic,
        group_id=group(consumers[0].service),
        batch=True,
        max_records=batch,
        batch_timeout_ms=100,
        fetch_max_wait_ms=100,
        auto_offset_reset="earliest",
        parser=_parsed,
        decoder=_records,
        no_reply=True,
    )
    subscriber(consume)


class Consumer:
    """Takes one topic's messages into a service's database, each once, in order per key.

    With `handle_many` in `handle`'s place a whole batch is handled at once, and the inbox is not
    asked: that handler tells by keys of its own what it has had already. `read` is how a record
    becomes a message, by default in full; it raises Poison for one that is none.
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
    ) -> None:
        self.group = group(service)
        self.service = service
        self.topic = topic
        self.handle = handle
        self.handle_many = handle_many
        self.read = read
        self.database = database
        self.clock = clock

    async def consume(self, records: Sequence[Record]) -> None:
        """Handle records in one transaction, or, if that fails, each in one of its own.

        Returns once all are handled or dead letters. While the database is out it waits, and the
        offsets stay where they are.
        """
        try:
            await self._while_out(records)
        except Exception:
            LOG.exception("a batch of %s failed; taking it one by one", self.topic.name)
            for record in records:
                await self._alone(record)

    async def _alone(self, record: Record) -> None:
        reason = ""
        for attempt in range(1, TRIES + 1):
            try:
                return await self._while_out([record])
            except Exception as error:
                LOG.exception("%s@%s failed", self.topic.name, record.offset)
                reason = f"{type(error).__name__}: {error}"
                await asyncio.sleep(0.05 * attempt)
        await self._while_out([record], given_up=reason)
        return None

    async def _while_out(self, records: Sequence[Record], given_up: str = "") -> None:
        while True:
            try:
                async with self.database.session() as session:
                    await self._take(session, records, given_up)
            except Exception as error:
                if not is_outage(error):
                    raise
                LOG.warning("the database is out; %s waits: %s", self.topic.name, error)
                await asyncio.sleep(OUTAGE_SECONDS)
            else:
                return

    async def _take(self, session: AsyncSession, records: Sequence[Record], given_up: str) -> None:
        batch: list[tuple[Message[Body], Record]] = []
        for record in records:
            try:
                message = self.read(record)
            except Poison as poison:
                await self._bury(session, record, str(poison))
                continue
            if given_up:
                await self._bury(session, record, given_up)
            else:
                batch.append((message, record))
        if batch:
            await self._hand_over(session, batch)

    async def _hand_over(self, session: AsyncSession, batch: Batch) -> None:
        if self.handle_many is not None:
            with consuming_many(self.service, self.topic.name, [message for message, _ in batch]):
                await self.handle_many(session, batch)
        for message, _ in batch:
            if self.handle is not None:
                with consuming(self.service, self.topic.name, message):
                    if await take(session, message, self.clock()):
                        await self.handle(session, message)
            CONSUMED.labels(self.service, self.topic.name, message.type).inc()

    async def _bury(self, session: AsyncSession, record: Record, reason: str) -> None:
        LOG.error("dead letter %s/%s@%s: %s", record.topic, record.partition, record.offset, reason)
        DEAD.labels(self.service, self.topic.name).inc()
        letter = dead_letter(record, self.group, reason)
        await say(
            session,
            Message(
                id=new_id(),
                source=f"hostler/{self.service}",
                time=self.clock(),
                subject=record.key or f"{record.topic}/{record.partition}",
                project_id=record.headers.get("ce_projectid", ""),
                actor=f"hostler/{self.service}",
                data=letter,
            ),
        )


_Raw = tuple[ConsumerRecord[bytes, bytes], ...]


async def _parsed(raw: _Raw, parse: Callable[[_Raw], Awaitable[KafkaMessage]]) -> KafkaMessage:
    """FastStream's message of a batch, without headers: it fails on those that are no text."""
    message = await parse(tuple(replace(record, headers=()) for record in raw))
    message.raw_message = raw
    return message


async def _records(message: KafkaMessage) -> list[Record]:
    """Leave reading the records to `consume`, which can tell poison from trouble."""
    return [
        received(r.topic, r.partition, r.offset, r.key, r.headers, r.value)
        for r in cast("_Raw", message.raw_message)
    ]
