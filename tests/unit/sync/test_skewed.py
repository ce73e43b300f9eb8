"""Replicas of sync tell what is due by one clock, whatever their own say."""

from datetime import timedelta

import pytest

from chassis.testing import VirtualClock
from contracts.message import utc_now
from services.sync.app import SyncService, build
from services.sync.settings import SyncSettings
from services.sync.tables import Account
from tests.fakes.driver import FakeCloud, FakeDriver
from tests.unit.sync.world import ACCOUNT

DAY = timedelta(days=1)


async def replica(url: str, skew: timedelta) -> SyncService:
    """A process whose wall clock is wrong by `skew`."""
    cloud = FakeCloud(VirtualClock(utc_now()))
    made = build(
        SyncSettings(database_url=url, projects={"p1": ACCOUNT}, explain_seconds=0.0),
        clock=VirtualClock(utc_now() + skew),
        drivers=lambda _account: FakeDriver(cloud, ACCOUNT),
    )
    await made.shared_clock.read()
    return made


@pytest.mark.parametrize("skew", [DAY, -DAY])
async def test_who_takes_over_from_a_replica_with_a_wrong_clock_sweeps_when_it_is_time(
    postgres_url: str, skew: timedelta
) -> None:
    wrong, right = await replica(postgres_url, skew), await replica(postgres_url, timedelta())
    assert await wrong.sweepers[ACCOUNT].sweep_once()
    await wrong.sweepers[ACCOUNT].lease.release()
    async with right.database.reading() as session:
        account = await session.get_one(Account, ACCOUNT)
    assert account.swept_at is not None
    assert account.next_full_at is not None
    assert abs(account.swept_at - utc_now()) < timedelta(hours=1)
    assert abs(account.next_full_at - utc_now()) < timedelta(hours=2)
    for each in (wrong, right):
        await each.database.close()
