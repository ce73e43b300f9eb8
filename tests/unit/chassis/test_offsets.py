"""Offsets are committed behind what is handled: soon, before a rebalance, and at the end."""

import asyncio
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError

from chassis import offsets
from chassis.offsets import Batch, Offsets

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)


class Client:
    """What a consumer is told."""

    def __init__(self, *held: TopicPartition) -> None:
        self.held = set(held)
        self.commits: list[Mapping[TopicPartition, int]] = []
        self.fails: Exception | None = None
        self.hangs = False

    def assignment(self) -> AbstractSet[TopicPartition]:
        return self.held

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        if not offsets:
            raise ValueError(offsets)  # as aiokafka does
        self.commits.append(dict(offsets))

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.commits.append({partition: offset})


def records(place: TopicPartition, *numbers: int) -> list[ConsumerRecord[bytes, bytes]]:
    return [
        ConsumerRecord(place.topic, place.partition, n, 0, 0, b"", b"", None, 0, 0, ())
        for n in numbers
    ]


async def test_batches_that_follow_each_other_share_a_commit_of_where_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offsets, "COMMIT_SECONDS", 0.01)
    made, client = Offsets(), Client(FIRST, SECOND)
    await Batch(made, client, records(FIRST, 3, 4)).commit()
    await Batch(made, client, records(SECOND, 7) + records(FIRST, 5)).commit()
    assert client.commits == []
    async with asyncio.timeout(30):
        while not client.commits:
            await asyncio.sleep(0.01)
    assert client.commits == [{FIRST: 6, SECOND: 8}]
    await made.close()
    assert len(client.commits) == 1


async def test_before_another_member_takes_over_all_that_is_handled_is_committed() -> None:
    made, client = Offsets(), Client(FIRST)
    await made.handled(client, records(FIRST, 1))
    await made.on_partitions_revoked({FIRST})
    assert client.commits == [{FIRST: 2}]
    await made.close()


async def test_partitions_that_are_another_members_by_now_are_left_out() -> None:
    made, client = Offsets(), Client(SECOND)
    await made.handled(client, records(FIRST, 1) + records(SECOND, 1))
    await made.close()
    assert client.commits == [{SECOND: 2}]


async def test_where_nothing_is_this_members_any_more_nothing_is_committed() -> None:
    made, client = Offsets(), Client(SECOND)
    await made.handled(client, records(FIRST, 1))
    await made.close()
    assert client.commits == []


async def test_at_the_end_nothing_is_left_and_what_is_handled_then_is_committed_at_once() -> None:
    made, client = Offsets(), Client(FIRST)
    await made.handled(client, records(FIRST, 1))
    await made.close()
    await made.handled(client, records(FIRST, 2))
    assert client.commits == [{FIRST: 2}, {FIRST: 3}]


@pytest.mark.parametrize("gone", [True, False])
async def test_a_commit_that_fails_or_hangs_fails_nothing_else(
    monkeypatch: pytest.MonkeyPatch, *, gone: bool
) -> None:
    monkeypatch.setattr(offsets, "PATIENCE_SECONDS", 0.01)
    made, client = Offsets(), Client(FIRST)
    client.fails, client.hangs = CommitFailedError(), gone
    await made.handled(client, records(FIRST, 1))
    await made.close()
    client.fails, client.hangs = None, False
    await made.handled(client, records(FIRST, 2))
    assert client.commits == [{FIRST: 3}]


async def test_a_batch_that_is_to_come_again_is_sought() -> None:
    client = Client(FIRST)
    Batch(Offsets(), client, records(FIRST, 5)).seek(FIRST, 5)
    assert client.commits == [{FIRST: 5}]
