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
from chassis.telemetry import DELAY, LAG, PARTITION_LAG
from chassis.wire import Record
from contracts.topics import Topic

MEASURE_SECONDS = 5.0
STUCK_AFTER = timedelta(seconds=30)
DEAD_AFTER = timedelta(seconds=60)
"""How long nothing may be taken of what waits until the service counts as unfit."""
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


@dataclass(frozen=True)
class Source:
    """One consumer of a service: the group that it is a member of, what that reads, its client."""

    group: str
    topics: Sequence[Topic]
    client: Client


@dataclass(frozen=True)
class Found:
    """How far a partition has been taken by its group, and where it ends."""

    group: str
    done: int
    end: int
    held: bool = True
    """By this replica."""


@dataclass
class _Place:
    """How far one partition has been taken, since when."""

    group: str
    held: bool
    done: int
    since: datetime
    behind: int

    def stands(self, name: TopicPartition, now: datetime) -> str:
        """For how long nothing was taken, in a sentence."""
        waited = f"{(now - self.since).total_seconds():.0f} s"
        where = "" if self.held else ", and this consumer holds no partition"
        return (
            f"Kafka → {self.group}: {self.behind} wait on {name.topic}/{name.partition}, "
            f"none was taken for {waited}{where}"
        )


class Lag:
    """What waits for the partitions that this replica holds; all replicas' sum is the group's.

    A record waits until it is handled: those in hand count. A consumer that holds no partition
    looks at all of its group's, by what that has committed: either other members take them, or
    nobody does.
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

    async def measure(self, sources: Iterable[Source]) -> None:
        """Compare what has been taken with where the partitions end. KafkaError, TimeoutError."""
        found: dict[TopicPartition, Found] = {}
        topics: list[str] = []
        async with asyncio.timeout(_PATIENCE_SECONDS):
            for source in sources:
                topics += [topic.name for topic in source.topics]
                held = list(source.client.assignment())
                found |= await (self._held(source, held) if held else _of_group(source))
        self.note(found, topics)

    async def _held(
        self, source: Source, held: Sequence[TopicPartition]
    ) -> dict[TopicPartition, Found]:
        client = source.client
        ends: Offsets = await client.end_offsets(held)
        done = {each: await client.position(each) - self._in_hand[each] for each in held}
        return {each: Found(source.group, done[each], ends[each]) for each in held}

    def note(self, found: Mapping[TopicPartition, Found], topics: Iterable[str]) -> None:
        """Take down how far each partition has been taken, and where it ends."""
        now = self._measured_at = self.clock()
        before, self._places = self._places, {}
        for name, each in found.items():
            was, behind = before.get(name), max(each.end - each.done, 0)
            # One that is handed over begins where its group has committed: a little further back.
            stays = was is not None and each.done <= was.done and was.behind and behind
            since = was.since if was and stays else now
            self._places[name] = _Place(each.group, each.held, each.done, since, behind)
        self._show(before.keys(), topics)

    def _show(self, before: Iterable[TopicPartition], topics: Iterable[str]) -> None:
        for name in set(before) - self._places.keys():
            PARTITION_LAG.remove(self.service, name.topic, str(name.partition))
        for name, place in self._places.items():
            labels = (self.service, name.topic, str(name.partition))
            PARTITION_LAG.labels(*labels).set(place.behind)
        held = self.behind(held=True)
        for topic in topics:
            LAG.labels(self.service, topic).set(held.get(topic, 0))
            if not held.get(topic, 0):
                DELAY.labels(self.service, topic).set(0)

    def behind(self, *, held: bool = False) -> dict[str, int]:
        """Records that wait, by topic; of the partitions that are held, or of all that are known."""
        found: Counter[str] = Counter()
        for each, place in self._places.items():
            if place.held or not held:
                found[each.topic] += place.behind
        return found

    def stands(self, after: timedelta | None = None) -> list[str]:
        """Where something waits of which none was taken for too long, or `after`.

        Nothing while Kafka does not say.
        """
        now, after = self.clock(), DEAD_AFTER if after is None else after
        if self._measured_at is None or now - self._measured_at > UNMEASURED_AFTER:
            return []
        return [
            place.stands(name, now)
            for name, place in sorted(self._places.items())
            if place.behind and now - place.since > after
        ]

    async def probe(self) -> str:
        """What waits, in a sentence; raises where nothing moves, or nothing is known."""
        if self._measured_at is None or self.clock() - self._measured_at > UNMEASURED_AFTER:
            raise RuntimeError("not known: Kafka has not said where the topics end")
        if stuck := self.stands(STUCK_AFTER):
            raise RuntimeError("; ".join(stuck[:5]))
        waiting = [
            f"{name.topic}/{name.partition} {place.behind}"
            for name, place in sorted(self._places.items())
            if place.behind
        ]
        return f"waiting: {', '.join(waiting)}" if waiting else "nothing waits"


async def _of_group(source: Source) -> dict[TopicPartition, Found]:
    """All partitions that the group of a consumer reads, which itself holds none."""
    done, ends = await _committed(source.client, source.topics)
    return {each: Found(source.group, done[each], ends[each], held=False) for each in done}


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
    client.assign(_partitions([topic]))
    done, ends = await _committed(client, [topic])
    return sum(ends[each] - done[each] for each in done)


async def _committed(
    client: Client, topics: Sequence[Topic]
) -> tuple[dict[TopicPartition, int], Offsets]:
    """How far the client's group has got in topics, and where they end."""
    parts = _partitions(topics)
    first, ends = await client.beginning_offsets(parts), await client.end_offsets(parts)
    done = {each: await client.committed(each) for each in parts}
    return {each: max(done[each] or 0, first[each]) for each in parts}, ends


def _partitions(topics: Sequence[Topic]) -> list[TopicPartition]:
    return [TopicPartition(topic.name, n) for topic in topics for n in range(topic.partitions)]
