"""Kafka as a service uses it: one FastStream broker, and what is published over it.

What is consumed comes by `subscription`.
"""

import asyncio
import logging
import ssl
from asyncio import IncompleteReadError
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import ConsumerRecord, conn
from aiokafka.conn import (
    create_conn,  # pyright: ignore[reportUnknownVariableType] - its types are half known
)
from aiokafka.errors import KafkaConnectionError, KafkaError, SaslAuthenticationFailed
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from chassis.settings import Settings
from chassis.transport import Connection
from chassis.wire import Record, received

LOG = logging.getLogger(__name__)
# Aiokafka and FastStream make their connections themselves.
conn.AIOKafkaConnection = Connection


def broker(settings: Settings, client_id: str) -> KafkaBroker:
    """A broker, not yet connected, as the settings say."""
    return KafkaBroker(
        settings.kafka_bootstrap_servers.split(","),
        client_id=client_id,
        acks="all",
        enable_idempotence=settings.kafka_enable_idempotence,
        linger_ms=0,  # what the relay sends at once goes out together all the same
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
        "sasl_plain_password": password(settings),
    }
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "security_protocol": protocol,
        "ssl_context": _ssl_context(settings) if protocol.endswith("SSL") else None,
        **(sasl if protocol.startswith("SASL") else {}),
    }


async def knock(settings: Settings) -> None:
    """Raise ConnectionError, which says why, unless one of the brokers lets the service in.

    Asked before the broker is started, which leaves a half-started producer behind if it fails, and
    does not say what was wrong.
    """
    options = connection(settings)
    addresses: list[str] = options.pop("bootstrap_servers")
    refused = ConnectionError("no broker is named")
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            made: Any = await create_conn(
                host, int(port), client_id="hostler-knock", request_timeout_ms=5000, **options
            )
        except (OSError, KafkaError, TimeoutError) as error:
            refused = ConnectionError(f"Kafka at {address}: {_why(error, settings)}")
        else:
            made.close()
            return
    raise refused


def _why(error: Exception, settings: Settings) -> str:
    """What a broker's refusal means, in a sentence."""
    protocol = settings.kafka_security_protocol
    match error:
        case SaslAuthenticationFailed():
            return f"it refuses the user {settings.kafka_username!r} or the password"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not to be trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"no TLS could be agreed on ({error.reason or error}); asked with {protocol}"
        case KafkaConnectionError() | IncompleteReadError() | TimeoutError():
            return f"it closes, or does not answer, what comes with {protocol}"
        case _:
            return str(error) or "it does not answer"


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
        password=password(settings),
        ssl_context=context,
        use_ssl=context is not None,
    )


def password(settings: Settings) -> str:
    """The service's password at Kafka, from the settings or the file that they name."""
    if settings.kafka_password_file is not None:
        return settings.kafka_password_file.read_text().strip()
    return settings.kafka_password.get_secret_value()


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    """TLS 1.2 and later, the broker's name checked; with the service's certificate if it has one."""
    context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
    if settings.kafka_ssl_certfile:
        key_password = settings.kafka_ssl_key_password
        context.load_cert_chain(
            settings.kafka_ssl_certfile,
            settings.kafka_ssl_keyfile,
            key_password.get_secret_value() if key_password else None,
        )
    return context


class BrokerPublisher:
    """Publishes records over a FastStream broker: in order per key, all acknowledged.

    `require` is asked before each wave, and raises if another process may be publishing by now:
    what it has published behind this record's key would be followed by an older word.
    """

    def __init__(
        self, made: KafkaBroker, require: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self.broker = made
        self.require = require

    async def publish(self, records: Sequence[Record]) -> None:
        """Return once Kafka has them all; raise if it does not take one.

        A record is sent when the one before it with its key is safe: were that one refused and
        published again, it would come behind.
        """
        for wave in waves(records):
            if self.require is not None:
                await self.require()
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


def records_of(raw: Sequence[ConsumerRecord[bytes, bytes]]) -> list[Record]:
    """Aiokafka's records as they are read here."""
    return [
        received(r.topic, r.partition, r.offset, r.key, r.headers, r.value, r.timestamp)
        for r in raw
    ]
