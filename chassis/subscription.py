"""What a service consumes: batches of records by FastStream, offsets after the rows that they make.

A service has one consumer for its topics, and one more for each that must not wait for the others.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain
from typing import Any, cast

from aiokafka import ConsumerRecord
from faststream.kafka import KafkaBroker, KafkaMessage

from chassis.consumer import Consumer, group
from chassis.kafka import records_of
from chassis.lag import Client, Source
from chassis.offsets import Batch, Committing, Offsets
from chassis.rounds import Rounds
from chassis.wire import Record

POLL_MS = 250
"""How long Kafka and the client wait for records; what comes meanwhile is had at once."""
Taking = Callable[[Sequence[Record]], AbstractContextManager[None]]
_Raw = tuple[ConsumerRecord[bytes, bytes], ...]


class Subscription:
    """All topics of a service's consumers, delivered by the broker once that is started.

    `taking` is entered with the records that are in hand. Those that are `apart` have a group of
    their own, so that neither a batch nor a rebalance of the others holds them up, and are taken at
    once; batches of the others begin `pace` s apart at least.
    """

    def __init__(
        self,
        broker: KafkaBroker,
        consumers: Sequence[Consumer],
        batch: int,
        pace: float,
        taking: Taking,
    ) -> None:
        together = [each for each in consumers if not each.apart]
        lanes = [(together, pace), *(([each], 0.0) for each in consumers if each.apart)]
        self._lanes = [
            _Lane(broker, lane, batch, Rounds(pace=its), taking) for lane, its in lanes if lane
        ]

    @property
    def sources(self) -> list[Source]:
        """The consumers that the records come by; none while not all of them are there."""
        found = [source for lane in self._lanes if (source := lane.source) is not None]
        return found if len(found) == len(self._lanes) else []

    async def close(self) -> None:
        """From now on offsets are committed with each batch; those so far are committed."""
        for lane in self._lanes:
            await lane.offsets.close()


class _Lane:
    """One consumer: a batch at a time, topic by topic."""

    def __init__(
        self,
        broker: KafkaBroker,
        consumers: Sequence[Consumer],
        batch: int,
        rounds: Rounds,
        taking: Taking,
    ) -> None:
        self.offsets = Offsets()
        self._by_topic = {consumer.topic.name: consumer for consumer in consumers}
        self._batch = batch
        self._taking = taking
        self._rounds = rounds
        first = consumers[0]
        self._group = group(first.service, first.topic if first.apart else None)
        self._subscriber = broker.subscriber(
            *self._by_topic,
            group_id=self._group,
            batch=True,
            max_records=batch,
            fetch_max_wait_ms=POLL_MS,
            auto_offset_reset="earliest",
            listener=self.offsets,
            parser=self._parsed,
            decoder=_records,
            no_reply=True,
        )
        self._subscriber(self._consume)
        # Its own sleeps after a poll that brought nothing, as long as that took, whatever comes.
        self._subscriber.get_msg = self._next

    @property
    def source(self) -> Source | None:
        """What its lag is measured by, while there is a client."""
        client = cast("Client | None", self._subscriber.consumer)
        topics = [consumer.topic for consumer in self._by_topic.values()]
        return Source(self._group, topics, client) if client is not None else None

    async def _next(self, consumer: Any) -> _Raw:
        found = await consumer.getmany(timeout_ms=POLL_MS, max_records=self._batch)
        return tuple(chain.from_iterable(found.values()))

    async def _consume(self, records: list[Record]) -> None:
        with self._taking(records):
            async with self._rounds:
                for topic, consumer in self._by_topic.items():
                    if its := [record for record in records if record.topic == topic]:
                        await consumer.consume(its)
                self._rounds.filled(len(records) / self._batch)

    async def _parsed(
        self, raw: _Raw, parse: Callable[[_Raw], Awaitable[KafkaMessage]]
    ) -> KafkaMessage:
        """FastStream's message of a batch; of the records it reads one, and no headers.

        It fails on headers that are no text. Reading is left to `_consume`, which can tell poison
        from trouble.
        """
        message = await parse((replace(raw[0], headers=()),))
        message.raw_message = raw
        client: Any = message.consumer
        message.consumer = cast("Any", Batch(self.offsets, cast("Committing", client), raw))
        return message


async def _records(message: KafkaMessage) -> list[Record]:
    return records_of(cast("_Raw", message.raw_message))
