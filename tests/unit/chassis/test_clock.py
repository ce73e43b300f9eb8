"""Replicas that share a database share a clock, whatever their own clocks say."""

from datetime import timedelta

from sqlalchemy import select

from chassis.clock import SharedClock
from chassis.leases import NamedLease
from chassis.tables import LEASES
from chassis.testing import VirtualClock
from contracts.message import utc_now
from tests.chassis_toys import opened

TTL = timedelta(hours=1)
NEVER = timedelta(days=10_000)


async def test_a_lease_of_a_process_whose_clock_runs_ahead_ends_as_everybody_elses(
    postgres_url: str,
) -> None:
    async with opened(postgres_url) as database:
        for ahead in (NEVER, -NEVER):
            own = VirtualClock(utc_now() + ahead)
            clock = SharedClock(database, own)
            await clock.read()
            lease = NamedLease(database, f"by {ahead}", clock, TTL)
            assert await lease.hold()
            async with database.reading() as session:
                until = select(LEASES.c.until).where(LEASES.c.name == lease.name)
                ends = await session.scalar(until)
            assert ends is not None
            assert utc_now() < ends < utc_now() + 2 * TTL


async def test_a_process_whose_clock_runs_ahead_takes_nothing_that_another_one_holds(
    postgres_url: str,
) -> None:
    async with opened(postgres_url) as database:
        clocks = [SharedClock(database, VirtualClock(utc_now() + by)) for by in (-NEVER, NEVER)]
        for clock in clocks:
            await clock.read()
        slow, fast = (NamedLease(database, "x", clock, TTL) for clock in clocks)
        assert await slow.hold()
        assert not await fast.hold()


async def test_a_clock_that_is_moved_after_it_was_read_moves_nothing(postgres_url: str) -> None:
    async with opened(postgres_url) as database:
        own = VirtualClock(utc_now())
        clock = SharedClock(database, own)
        await clock.read()
        before = clock()
        own.advance(hours=1)
        assert before <= clock() < before + timedelta(hours=1)


async def test_on_sqlite_and_before_it_was_read_it_is_the_processs_own(
    postgres_url: str, sqlite_url: str
) -> None:
    own = VirtualClock()
    async with opened(postgres_url) as database:
        assert SharedClock(database, own)() == own.now
    async with opened(sqlite_url) as database:
        clock = SharedClock(database, own)
        await clock.read()
        assert clock() == own.now
