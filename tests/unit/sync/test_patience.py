"""Whether a change is Hostler's own is not guessed before there was time to hear of it."""

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime, timedelta

import pytest

from chassis.ids import new_id
from chassis.testing import VirtualClock
from contracts.vm.states import VmState
from drivers.base import Looked
from services.sync.patience import Promptness
from tests.fakes.driver import FakeDriver
from tests.unit.sync.world import ACCOUNT, SyncWorld, changes


@pytest.fixture
async def patient(database_url: str) -> AsyncGenerator[SyncWorld]:
    made = SyncWorld(database_url, explain_seconds=1)
    yield made
    await made.service.database.close()


async def test_a_change_seen_before_its_operation_is_heard_of_is_still_hostlers(
    patient: SyncWorld,
) -> None:
    vm_id, server_id = await patient.known()
    patient.cloud.change(server_id, state=VmState.STOPPED)
    assert changes(await patient.sweep()) == []
    await patient.issued(vm_id, "vm.stop.v1", server_id)
    (change,) = changes(await patient.sweep(after=0.5))
    assert (change.origin, change.new) == ("hostler", {"state": "stopped"})


async def test_a_change_that_nothing_explains_is_external_by_the_next_sweep(
    patient: SyncWorld,
) -> None:
    _, server_id = await patient.known()
    patient.cloud.change(server_id, state=VmState.STOPPED)
    assert changes(await patient.sweep()) == []
    assert await patient.sweeper.pause() <= patient.sweeper.settings.sweep_fast_seconds
    (change,) = changes(await patient.sweep(after=1))
    assert (change.origin, change.new) == ("external", {"state": "stopped"})
    assert changes(await patient.sweep()) == []


async def test_a_change_that_is_taken_back_meanwhile_is_none(patient: SyncWorld) -> None:
    _, server_id = await patient.known()
    patient.cloud.change(server_id, state=VmState.STOPPED)
    await patient.sweep()
    patient.cloud.change(server_id, state=VmState.ACTIVE)
    assert changes(await patient.sweep(after=1)) == []


async def test_a_change_that_was_waited_with_is_not_lost_with_the_process(
    patient: SyncWorld,
) -> None:
    _, server_id = await patient.known()
    patient.cloud.change(server_id, state=VmState.STOPPED)
    await patient.sweep()
    await patient.sweeper.lease.release()
    await patient.service.database.close()
    patient.service = patient.replica()
    assert changes(await patient.sweep(after=60)) == []
    assert [c.new for c in changes(await patient.sweep(after=1))] == [{"state": "stopped"}]


async def test_where_messages_come_promptly_a_change_from_outside_is_told_soon(
    patient: SyncWorld,
) -> None:
    _, server_id = await patient.known()
    patient.cloud.change(server_id, state=VmState.STOPPED)
    assert changes(await patient.sweep()) == []
    assert 0 < await patient.sweeper.pause() <= 0.4
    assert [c.origin for c in changes(await patient.sweep(after=0.4))] == ["external"]


class Asked(FakeDriver):
    """Notes what lists of changes were asked from, and how many servers they showed."""

    def note(self) -> None:
        self.since: list[datetime] = []
        self.shown: list[int] = []

    async def sweep(self, since: datetime | None) -> AsyncIterator[Looked]:
        async for page in super().sweep(since):
            if since is not None:
                self.since.append(since)
                self.shown.append(len(page.servers))
            yield page


async def test_a_sweep_costs_what_changed_lately_however_long_changes_go_on(
    patient: SyncWorld,
) -> None:
    patient.driver = driver = Asked(patient.cloud, ACCOUNT)
    driver.note()
    patient.service = patient.replica()
    servers = [patient.server(new_id(), f"web-{n}") for n in range(60)]
    patient.clock.advance(seconds=60)
    await patient.sweep()
    patient.service.promptness.heard(patient.clock() - timedelta(minutes=1), patient.clock())
    told: list[str | None] = []
    for server_id in servers:
        patient.cloud.change(server_id, state=VmState.STOPPED)
        told += [c.vm.server_id for c in changes(await patient.sweep(after=0.5))]
        assert driver.since[-1] >= patient.cloud.now - timedelta(seconds=5 + 3)
    assert max(driver.shown) <= 2 * (5 + 3)
    for _ in range(3):
        told += [c.vm.server_id for c in changes(await patient.sweep(after=0.5))]
    assert told == servers


async def test_a_change_that_is_waited_with_is_shown_again_whatever_changed_behind_it(
    patient: SyncWorld,
) -> None:
    """One that lasts: the clock goes no further than to where it lies."""
    patient.driver = driver = Asked(patient.cloud, ACCOUNT)
    driver.note()
    patient.service = patient.replica()
    patient.sweeper.watching.settings.sweep_overlap_seconds = 0
    patient.service.promptness.heard(patient.clock() - timedelta(minutes=1), patient.clock())
    servers = [patient.server(new_id(), f"web-{n}") for n in range(10)]
    await patient.sweep()
    told: list[str | None] = []
    for server_id in servers:
        patient.clock.advance(seconds=0.25)
        patient.cloud.change(server_id, state=VmState.STOPPED)
        told += [c.vm.server_id for c in changes(await patient.sweep(after=0.05))]
    for _ in range(5):
        told += [c.vm.server_id for c in changes(await patient.sweep(after=0.3))]
    assert told == servers


def test_patience_grows_with_how_late_messages_come_and_forgets_it() -> None:
    clock = VirtualClock()
    promptness = Promptness(timedelta(seconds=1))
    assert promptness.grace(clock()) == timedelta(seconds=0.4)
    promptness.heard(clock() - timedelta(seconds=0.2), clock())
    assert promptness.grace(clock()) == timedelta(seconds=0.8)
    promptness.heard(clock(), clock())
    assert promptness.grace(clock()) == timedelta(seconds=0.8)
    promptness.heard(clock() - timedelta(minutes=5), clock())
    assert promptness.grace(clock()) == timedelta(seconds=1)
    clock.advance(minutes=1)
    assert promptness.grace(clock()) == timedelta(seconds=0.4)
