"""How far a consumer has got: told to Kafka now and then, not with each batch.

A commit names every partition and is a record for each on Kafka's side. What was handled and not
committed comes again after a crash, and is taken once.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any, Protocol

from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

LOG = logging.getLogger(__name__)
COMMIT_SECONDS = 0.5
PATIENCE_SECONDS = 2.0
"""How long a commit may take: a Kafka that is gone must not hold up a drain."""
Raw = Sequence[ConsumerRecord[bytes, bytes]]


class Committing(Protocol):
    """What is asked of aiokafka's consumer, which tells no types."""

    def assignment(self) -> AbstractSet[TopicPartition]:
        """The partitions that it holds."""
        ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Take down where the group goes on after a restart."""
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go back to a record."""
        ...


class Offsets(ConsumerRebalanceListener):
    """Of one consumer. Before partitions go to another member, and at the end, nothing is left."""

    def __init__(self) -> None:
        self._consumer: Committing | None = None
        self._done: dict[TopicPartition, int] = {}
        self._committing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def handled(self, consumer: Committing, records: Raw) -> None:
        """Records are handled: what comes behind them is where the group goes on."""
        self._consumer = consumer
        for record in records:
            self._done[TopicPartition(record.topic, record.partition)] = record.offset + 1
        if self._closing.is_set():
            await self.commit()
        elif self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_soon())

    async def commit(self) -> None:
        """Commit what is handled. A failure loses nothing: what is not committed comes again."""
        done, self._done = self._done, {}
        if self._consumer is None or not done:
            return
        held = self._consumer.assignment()
        ours = {place: offset for place, offset in done.items() if place in held}
        if not ours:  # all of it went to other members meanwhile; aiokafka takes no empty commit
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._consumer.commit(ours)
        except (KafkaError, TimeoutError) as error:
            LOG.warning("offsets are not committed: %s", error or type(error).__name__)

    async def close(self) -> None:
        """Commit, and from now on with each batch."""
        self._closing.set()
        if self._committing is not None:
            await self._committing
        await self.commit()

    # Aiokafka takes either kind of method, and names one.
    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, revoked: Any
    ) -> None:
        """Another member goes on from here."""
        await self.commit()

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, assigned: Any
    ) -> None:
        """Nothing is known of new ones."""

    async def _commit_soon(self) -> None:
        """Not `wait_for`, which in Python 3.11 loses a cancel that comes with the wake-up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._closing.wait()
        await self.commit()


class Batch:
    """Stands in for the consumer in FastStream's message: its batch's commit is the offsets'."""

    def __init__(self, offsets: Offsets, consumer: Committing, records: Raw) -> None:
        self._offsets = offsets
        self._consumer = consumer
        self._records = records

    async def commit(self) -> None:
        """The batch is handled."""
        await self._offsets.handled(self._consumer, self._records)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go back to a record."""
        self._consumer.seek(partition, offset)
