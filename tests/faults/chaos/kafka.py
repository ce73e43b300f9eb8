"""Kafka from outside: read it all, say old records again, set a group's offsets back."""

import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

AGAIN = ("vm.commands", "vm.events")


@dataclass(frozen=True)
class Said:
    """One record as any consumer reads it."""

    topic: str
    partition: int
    offset: int
    key: str
    headers: dict[str, str]
    value: bytes

    @property
    def id(self) -> str:
        return self.headers.get("ce_id", "")

    @property
    def type(self) -> str:
        return self.headers.get("ce_type", "")

    @property
    def data(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.value))


def _consumer(address: str, group: str | None = None) -> Any:
    return AIOKafkaConsumer(
        bootstrap_servers=address, group_id=group, enable_auto_commit=False, request_timeout_ms=5000
    )


async def read(address: str, topic: str) -> list[Said]:
    """Everything that stands on a topic now, each partition in order."""
    consumer = _consumer(address)
    try:
        await consumer.start()
        found = [r async for r in _records(consumer, await _partitions(consumer, topic))]
    finally:
        await consumer.stop()
    return [
        Said(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=(record.key or b"").decode(errors="replace"),
            headers={name: raw.decode(errors="replace") for name, raw in record.headers},
            value=record.value or b"",
        )
        for record in found
    ]


async def _partitions(consumer: Any, topic: str) -> list[TopicPartition]:
    await consumer._client.force_metadata_update()
    numbers = consumer._client.cluster.partitions_for_topic(topic)
    if numbers is None:
        await consumer._client.add_topic(topic)
        numbers = consumer._client.cluster.partitions_for_topic(topic)
    return [TopicPartition(topic, number) for number in sorted(numbers or ())]


async def _records(consumer: Any, partitions: list[TopicPartition]) -> AsyncIterator[Any]:
    consumer.assign(partitions)
    ends = await consumer.end_offsets(partitions)
    begins = await consumer.beginning_offsets(partitions)
    for partition in partitions:
        consumer.seek(partition, begins[partition])
    open_ = {p for p in partitions if begins[p] < ends[p]}
    while open_:
        for partition, records in (await consumer.getmany(timeout_ms=2000)).items():
            for record in records:
                if record.offset < ends[partition]:
                    yield record
        for partition in list(open_):
            if await consumer.position(partition) >= ends[partition]:
                open_.discard(partition)


async def repeat(address: str, dice: random.Random) -> int:
    """Publish a few old records again, byte for byte; how many."""
    consumer = _consumer(address)
    producer: Any = AIOKafkaProducer(bootstrap_servers=address, request_timeout_ms=5000)
    try:
        await consumer.start()
        topic = dice.choice(AGAIN)
        records = [r async for r in _records(consumer, await _partitions(consumer, topic))]
    finally:
        await consumer.stop()
    chosen = dice.sample(records, min(len(records), dice.randint(1, 20)))
    try:
        await producer.start()
        for record in chosen:
            await producer.send_and_wait(
                record.topic, record.value, key=record.key, headers=list(record.headers)
            )
    finally:
        await producer.stop()
    return len(chosen)


async def poison(address: str, dice: random.Random) -> bytes:
    """Publish what no consumer can read; its value."""
    producer: Any = AIOKafkaProducer(bootstrap_servers=address, request_timeout_ms=5000)
    value = b"\xff{poison " + str(dice.getrandbits(32)).encode()
    try:
        await producer.start()
        await producer.send_and_wait(dice.choice(AGAIN), value, key=b"poison")
    finally:
        await producer.stop()
    return value


async def rewind(address: str, group: str, topics: tuple[str, ...], dice: random.Random) -> int:
    """Set a group's offsets back, while it has no members; by how many records in all."""
    consumer = _consumer(address, group)
    back = 0
    try:
        await consumer.start()
        for topic in topics:
            partitions = await _partitions(consumer, topic)
            consumer.assign(partitions)
            offsets: dict[TopicPartition, int] = {}
            for partition in partitions:
                committed = await consumer.committed(partition)
                if committed:
                    offsets[partition] = max(0, committed - dice.randint(0, 25))
                    back += committed - offsets[partition]
            if offsets:
                await consumer.commit(offsets)
    finally:
        await consumer.stop()
    return back
