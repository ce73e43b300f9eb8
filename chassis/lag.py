"""How far a service's consumers are behind Kafka, and whether they move at all."""

import asyncio
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition

from chassis.leases import Clock
from chassis.telemetry import DELAY, LAG
from chassis.wire import Record
from contracts.topics import Topic

MEASURE_SECONDS = 5.0
STUCK_AFTER = timedelta(seconds=30)
UNMEASURED_AFTER = timedelta(seconds=30)
_PATIENCE_SECONDS = 5.0
Offsets = Mapping[TopicPartition, int]


class Client(Protocol):
    """What is asked of aiokafka's consumer, which tells no types."""

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Take partitions without being a member of the group."""
        ...

    def assignment(self) -> AbstractSet[TopicPartition]:
        """The partitions that it holds."""
        ...

    async def position(self, partition: TopicPartition) -> int:
        """Where it reads on."""
        ...

    async def committed(self, partition: TopicPartition) -> int | None:
        """Where its group goes on after a restart; None if it never has committed."""
        ...

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """The first records that are still there."""
        ...

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """The places behind the last records."""
        ...


@dataclass
class _Place:
    """How far one partition has been taken, since when."""

    done: int
    since: datetime
    behind: int


class Lag:
    """What waits for the partitions that this replica holds; all replicas' sum is the group's.

    A record waits until it is handled: those in hand count.
    """

    def __init__(self, service: str, clock: Clock) -> None:
        self.service = service
        self.clock = clock
        self._in_hand: Counter[TopicPartition] = Counter()
        self._places: dict[TopicPartition, _Place] = {}
        self._measured_at: datetime | None = None

    @contextmanager
    def taking(self, records: Sequence[Record]) -> Generator[None]:
        """Records are in hand until this ends; tells how long the oldest of them has waited."""
        taken = Counter(TopicPartition(r.topic, r.partition) for r in records)
        self._in_hand.update(taken)
        for topic in {record.topic for record in records}:
            oldest = min(r.appended_ms for r in records if r.topic == topic)
            waited = self.clock().timestamp() - oldest / 1000
            DELAY.labels(self.service, topic).set(max(waited, 0))
        try:
            yield
        finally:
            self._in_hand.subtract(taken)

    async def measure(self, clients: Iterable[Client], topics: Iterable[str]) -> None:
        """Compare what has been taken with where the partitions end. KafkaError, TimeoutError."""
        found: dict[TopicPartition, tuple[int, int]] = {}
        async with asyncio.timeout(_PATIENCE_SECONDS):
            for client in clients:
                held = list(client.assignment())
                ends: Offsets = await client.end_offsets(held) if held else {}
                done = {each: await client.position(each) - self._in_hand[each] for each in held}
                found |= {each: (done[each], ends[each]) for each in held}
        self.note(found, topics)

    def note(
        self, offsets: Mapping[TopicPartition, tuple[int, int]], topics: Iterable[str]
    ) -> None:
        """Take down how far each partition that is held has been taken, and where it ends."""
        now = self._measured_at = self.clock()
        places: dict[TopicPartition, _Place] = {}
        for each, (done, end) in offsets.items():
            before, behind = self._places.get(each), max(end - done, 0)
            stays = before is not None and before.done == done and before.behind and behind
            places[each] = _Place(done, before.since if before and stays else now, behind)
        self._places = places
        for topic, behind in (dict.fromkeys(topics, 0) | self.behind()).items():
            LAG.labels(self.service, topic).set(behind)
            if not behind:
                DELAY.labels(self.service, topic).set(0)

    def behind(self) -> dict[str, int]:
        """Records that wait, by topic."""
        found: Counter[str] = Counter()
        for each, place in self._places.items():
            found[each.topic] += place.behind
        return found

    async def probe(self) -> str:
        """What waits, in a sentence; raises where nothing moves, or nothing is known."""
        now = self.clock()
        if self._measured_at is None or now - self._measured_at > UNMEASURED_AFTER:
            raise RuntimeError("not known: Kafka has not said where the topics end")
        stuck = [
            f"{each.topic}/{each.partition}: {place.behind} wait, none was taken for "
            f"{(now - place.since).total_seconds():.0f} s"
            for each, place in sorted(self._places.items())
            if place.behind and now - place.since > STUCK_AFTER
        ]
        if stuck:
            raise RuntimeError("; ".join(stuck[:5]))
        waiting = [f"{topic} {behind}" for topic, behind in self.behind().items() if behind]
        return f"waiting: {', '.join(waiting)}" if waiting else "nothing waits"


async def group_lag(connection: Mapping[str, Any], group: str, topic: Topic) -> int:
    """How many records of a topic a group has not committed yet. KafkaError, TimeoutError.

    `connection`: of `chassis.kafka`. Asked per partition: the embedded broker closes the connection at a question about a group.
    """
    consumer = AIOKafkaConsumer(
        **connection, group_id=group, enable_auto_commit=False, client_id="hostler-lag"
    )
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await consumer.start()
        try:
            return await _uncommitted(consumer, topic)
        finally:
            await consumer.stop()


async def _uncommitted(client: Client, topic: Topic) -> int:
    parts = [TopicPartition(topic.name, each) for each in range(topic.partitions)]
    client.assign(parts)
    first, ends = await client.beginning_offsets(parts), await client.end_offsets(parts)
    done = {each: await client.committed(each) for each in parts}
    return sum(ends[each] - max(done[each] or 0, first[each]) for each in parts)
