"""Kafka in memory: order holds per key and for nothing else, and what was read may be read again."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from chassis.outbox import Publisher
from chassis.service import Service
from chassis.wire import Record


class Crash(Exception):
    """The process ended here."""


class Bus(Publisher):
    """Topics as logs per key. `fails_after` lets a publisher die behind so many records."""

    def __init__(self) -> None:
        self.logs: dict[tuple[str, str], list[Record]] = defaultdict(list)
        self.read: dict[tuple[str, str, str], int] = defaultdict(int)
        self.fails_after: int | None = None
        self._offsets: dict[str, int] = defaultdict(int)

    async def publish(self, records: Sequence[Record]) -> None:
        for number, record in enumerate(records):
            if number == self.fails_after:
                self.fails_after = None
                raise Crash
            self.put(record)

    def put(self, record: Record) -> None:
        """Put a record at the end of its key's log."""
        self._offsets[record.topic] += 1
        placed = replace(record, offset=self._offsets[record.topic])
        self.logs[record.topic, record.key].append(placed)

    def waiting(self, service: Service) -> list[tuple[str, str]]:
        """The logs of which a service has not read everything."""
        topics = {consumer.topic.name for consumer in service.consumers}
        return [
            (topic, key)
            for (topic, key), log in self.logs.items()
            if topic in topics and self.read[service.name, topic, key] < len(log)
        ]

    def next(self, service: Service, place: tuple[str, str], most: int) -> list[Record]:
        """Up to so many records that a service has not read of a log."""
        begin = self.read[service.name, *place]
        return self.logs[place][begin : begin + most]

    def commit(self, service: Service, place: tuple[str, str], count: int) -> None:
        """Remember that they were read."""
        self.read[service.name, *place] += count

    def rewind(self, service: Service, place: tuple[str, str], count: int) -> None:
        """Forget it again."""
        self.read[service.name, *place] = max(0, self.read[service.name, *place] - count)

    def all(self, topic: str) -> list[Record]:
        """A topic's records, in the order of each key."""
        return [r for (name, _), log in self.logs.items() if name == topic for r in log]
