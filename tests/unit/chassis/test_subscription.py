from contextlib import nullcontext
from typing import Any

import anyio
import pytest
from aiokafka import TopicPartition

from chassis.consumer import Consumer
from chassis.kafka import broker
from chassis.settings import Settings
from chassis.subscription import Subscription
from chassis.testing import VirtualClock
from contracts.topics import VM_COMMANDS
from tests.chassis_toys import opened


class Quiet:
    """A client that nothing came for, until the third time that it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, Any]:
        assert timeout_ms > 0
        assert max_records == 7
        self.asked += 1
        return {TopicPartition("t", n): [(n, 1), (n, 2)] for n in (0, 1)} if self.asked > 2 else {}


async def test_after_a_poll_that_brought_nothing_the_next_one_follows_at_once(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_sleep(_seconds: float) -> None:
        pytest.fail("what comes meanwhile waits for this")

    monkeypatch.setattr(anyio, "sleep", no_sleep)
    async with opened(sqlite_url) as database:
        consumer = Consumer("toy", VM_COMMANDS, None, database, VirtualClock())
        made = broker(Settings(), "toy")
        Subscription(made, [consumer], 7, 0.0, lambda _records: nullcontext())
        (subscriber,) = made.subscribers
        client: Any = Quiet()
        poll: Any = getattr(subscriber, "get_msg")  # noqa: B009 - a base class knows it not
        assert [await poll(client) for _ in range(3)] == [(), (), ((0, 1), (0, 2), (1, 1), (1, 2))]
