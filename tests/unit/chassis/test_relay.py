"""The relay stops when it is told to."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from chassis.leases import NamedLease
from chassis.outbox import Relay
from chassis.testing import VirtualClock
from chassis.wire import Record
from tests.chassis_toys import opened


class Nowhere:
    async def publish(self, records: Sequence[Record]) -> None:
        """Nothing is said in these tests."""


async def test_a_relay_told_to_stop_in_the_moment_that_something_is_said_stops(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        lease = NamedLease(database, "relay", VirtualClock(), timedelta(seconds=5))
        running = asyncio.create_task(Relay(database, Nowhere(), lease).run())
        await asyncio.sleep(0.1)
        database.said.set()
        running.cancel()
        await asyncio.wait([running], timeout=30)
        assert running.cancelled()
