"""The relay stops when it is told to."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from chassis.database import Database
from chassis.leases import NamedLease
from chassis.outbox import Relay, say
from chassis.testing import VirtualClock, unsaid
from chassis.wire import Record
from tests.chassis_toys import command, opened


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


class Overtaken:
    """While it publishes, another relay takes over, finishes, and something new is said."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def publish(self, records: Sequence[Record]) -> None:
        await unsaid(self.database)
        async with self.database.session() as session:
            await say(session, command())


async def test_a_relay_that_was_overtaken_deletes_nothing_that_was_said_since(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        lease = NamedLease(database, "relay", VirtualClock(), timedelta(seconds=5))
        async with database.session() as session:
            await say(session, command())
        await Relay(database, Overtaken(database), lease).publish_some()
        assert len(await unsaid(database)) == 1
