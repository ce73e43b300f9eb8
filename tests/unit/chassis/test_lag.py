"""Lag: what waits is told, wherever it waits, and that nobody takes it is not that nothing waits."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta

import pytest
from aiokafka import TopicPartition
from prometheus_client import REGISTRY

from chassis.lag import DEAD_AFTER, STUCK_AFTER, Lag, Offsets, Source
from chassis.testing import VirtualClock
from contracts.topics import CANARY, VM_COMMANDS

GROUP = "hostler.provisioner.vm.commands"
FIRST, SECOND = (TopicPartition(VM_COMMANDS.name, n) for n in (0, 1))


class Kafka:
    """A consumer's client, and what Kafka keeps of its group."""

    def __init__(self, *held: TopicPartition) -> None:
        self.held = set(held)
        self.done: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.begins: dict[TopicPartition, int] = {}

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        raise AssertionError

    def assignment(self) -> AbstractSet[TopicPartition]:
        return self.held

    async def position(self, partition: TopicPartition) -> int:
        assert partition in self.held
        return self.done.get(partition, 0)

    async def committed(self, partition: TopicPartition) -> int | None:
        return self.done.get(partition)

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> Offsets:
        return {each: self.begins.get(each, 0) for each in partitions}

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> Offsets:
        return {each: self.ends.get(each, 0) for each in partitions}


class Watched:
    """The lag of a service with two consumers, measured now and then."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.lag = Lag("toy", self.clock)
        self.commands, self.others = Kafka(FIRST, SECOND), Kafka(TopicPartition(CANARY.name, 0))

    async def measure(self, after: timedelta = timedelta()) -> None:
        self.clock.advance(seconds=after.total_seconds())
        commands = Source(GROUP, [VM_COMMANDS], self.commands)
        await self.lag.measure([commands, Source("hostler.provisioner", [CANARY], self.others)])


@pytest.fixture
def watched() -> Watched:
    return Watched()


async def test_each_partition_in_which_something_waits_is_named(watched: Watched) -> None:
    watched.commands.ends, watched.commands.done = {FIRST: 7, SECOND: 3}, {SECOND: 3}
    await watched.measure()
    assert await watched.lag.probe() == "waiting: vm.commands/0 7"
    assert [_shown(each) for each in (FIRST, SECOND)] == [7, 0]


async def test_a_consumer_that_lost_its_partitions_does_not_say_that_nothing_waits(
    watched: Watched,
) -> None:
    await watched.measure()
    assert await watched.lag.probe() == "nothing waits"
    watched.commands.held.clear()
    watched.commands.ends, watched.commands.done = {FIRST: 5}, {FIRST: 2}
    await watched.measure()
    assert await watched.lag.probe() == "waiting: vm.commands/0 3"
    await watched.measure(after=STUCK_AFTER + timedelta(seconds=1))
    with pytest.raises(RuntimeError, match=r"3 wait on vm.commands/0, none was taken for 31 s"):
        await watched.lag.probe()
    assert watched.lag.stands() == []
    await watched.measure(after=DEAD_AFTER)
    (stands,) = watched.lag.stands()
    assert stands == (
        f"Kafka → {GROUP}: 3 wait on vm.commands/0, none was taken for 91 s, "
        "and this consumer holds no partition"
    )


async def test_a_group_that_never_committed_waits_from_the_first_record_that_is_kept(
    watched: Watched,
) -> None:
    watched.commands.held.clear()
    watched.commands.ends, watched.commands.begins = {FIRST: 9}, {FIRST: 4}
    await watched.measure()
    assert await watched.lag.probe() == "waiting: vm.commands/0 5"


async def test_a_spare_replica_is_fit_while_the_others_of_its_group_commit(
    watched: Watched,
) -> None:
    watched.commands.held.clear()
    for done in range(5):
        watched.commands.ends, watched.commands.done = {FIRST: done + 10}, {FIRST: done}
        await watched.measure(after=STUCK_AFTER)
    assert watched.lag.stands() == []
    assert await watched.lag.probe() == "waiting: vm.commands/0 10"


async def test_a_partition_that_is_handed_over_and_not_taken_has_waited_all_the_while(
    watched: Watched,
) -> None:
    watched.commands.ends, watched.commands.done = {FIRST: 5}, {FIRST: 3}
    await watched.measure()
    await watched.measure(after=STUCK_AFTER)
    watched.commands.held.clear()
    watched.commands.done = {FIRST: 2}
    await watched.measure(after=STUCK_AFTER)
    await watched.measure(after=timedelta(seconds=1))
    assert len(watched.lag.stands()) == 1


async def test_what_moves_again_stands_no_longer_and_what_went_is_shown_no_longer(
    watched: Watched,
) -> None:
    watched.commands.ends = {FIRST: 5}
    await watched.measure()
    await watched.measure(after=DEAD_AFTER + timedelta(seconds=1))
    assert len(watched.lag.stands()) == 1
    watched.commands.done = {FIRST: 1}
    await watched.measure()
    assert watched.lag.stands() == []
    watched.commands.held = {SECOND}
    await watched.measure()
    assert [_shown(each) for each in (FIRST, SECOND)] == [None, 0]


async def test_while_kafka_is_silent_nothing_is_said_to_stand(watched: Watched) -> None:
    watched.commands.ends = {FIRST: 5}
    await watched.measure()
    watched.clock.advance(seconds=600)
    assert watched.lag.stands() == []
    with pytest.raises(RuntimeError, match="not known"):
        await watched.lag.probe()


def _shown(each: TopicPartition) -> float | None:
    labels = {"service": "toy", "topic": each.topic, "partition": str(each.partition)}
    return REGISTRY.get_sample_value("hostler_consumer_partition_lag", labels)
