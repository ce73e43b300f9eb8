"""What the local brokers promise when they are stopped, killed and started again."""
# aiokafka ships no types.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterator
from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.broker import Broker, GivenBroker
from deploy.local.embedded import EmbeddedBroker
from tests.infra.plan import Infrastructure


async def create_topic(broker: Broker, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await admin.close()


async def send(broker: Broker, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap_servers,
        enable_idempotence=broker.enable_idempotence,
        acks="all",
    ) as producer:
        await producer.send_and_wait(topic, value)


async def read(broker: Broker, topic: str, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        return [await read_one(consumer) for _ in range(count)]


async def read_one(consumer: AIOKafkaConsumer) -> bytes:
    record = cast("ConsumerRecord[object, bytes]", await consumer.getone())
    return record.value or b""


@pytest.fixture(scope="module")
def own_broker(infrastructure: Infrastructure) -> Iterator[Broker]:
    broker = infrastructure.new_broker("own-broker")
    broker.start()
    yield broker
    broker.stop()


async def test_a_message_sent_is_a_message_read(kafka: Broker) -> None:
    await create_topic(kafka, "infra.echo")
    await send(kafka, "infra.echo", b"hello")
    assert await read(kafka, "infra.echo", 1) == [b"hello"]


@pytest.mark.timeout(300)
async def test_a_broker_keeps_address_and_messages_over_stop_and_kill(own_broker: Broker) -> None:
    if isinstance(own_broker, GivenBroker | EmbeddedBroker):
        pytest.skip("a given broker is not ours to stop, the embedded one keeps nothing")
    address = own_broker.bootstrap_servers
    await create_topic(own_broker, "infra.kept")
    await send(own_broker, "infra.kept", b"before")
    own_broker.stop()
    own_broker.start()
    await send(own_broker, "infra.kept", b"after the stop")
    own_broker.kill()
    own_broker.start()
    await send(own_broker, "infra.kept", b"after the kill")
    assert own_broker.bootstrap_servers == address
    assert await read(own_broker, "infra.kept", 3) == [
        b"before",
        b"after the stop",
        b"after the kill",
    ]


async def test_the_embedded_broker_answers_again_after_kill_and_has_forgotten(
    infrastructure: Infrastructure, own_broker: Broker
) -> None:
    if not isinstance(own_broker, EmbeddedBroker):
        pytest.skip("this run is on a broker that keeps its messages")
    await create_topic(own_broker, "infra.forgotten")
    own_broker.kill()
    own_broker.start()
    await create_topic(own_broker, "infra.forgotten")
    await send(own_broker, "infra.forgotten", b"new life")
    assert await read(own_broker, "infra.forgotten", 1) == [b"new life"]
