"""Whether a change is Hostler's own is not guessed before there was time to hear of it."""

from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from chassis.testing import VirtualClock
from contracts.vm.states import VmState
from services.sync.patience import Promptness
from tests.unit.sync.world import SyncWorld, changes


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
