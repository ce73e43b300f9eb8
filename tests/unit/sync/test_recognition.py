"""What sync promises about servers that are as they were: they cost nothing, and nothing is missed."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import update

from chassis.ids import new_id
from chassis.leases import LeaseLostError
from chassis.testing import said
from contracts.vm.states import Address, Fault, VmSnapshot, VmState
from drivers.base import Mark
from services.sync import taking
from services.sync.app import SyncService
from services.sync.tables import VMS, Vm
from tests.fakes.driver import ReadOnlyDriver
from tests.unit.sync.world import ACCOUNT, SyncWorld, changes, names, opened, writes

FULL = 601
"""Seconds after which everything is listed again."""
MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)
OTHERWISE: dict[str, Any] = {
    "name": "renamed",
    "description": "what it is for",
    "state": VmState.STOPPED,
    "task": "powering-off",
    "flavor": "m1.large",
    "image": "another",
    "addresses": (Address(network="n", address="10.0.0.7", version=4),),
    "metadata": {"role": "db"},
    "tags": ("new",),
    "key_name": "key",
    "availability_zone": "az2",
    "security_groups": ("closed",),
    "fault": Fault(code=500, message="broke"),
    "created_at": MOMENT,
}


@pytest.fixture
async def other(world: SyncWorld) -> AsyncIterator[SyncService]:
    """Another process of the same service."""
    made = world.replica()
    yield made
    await made.database.close()


def behind(world: SyncWorld, server_id: str, **fields: Any) -> None:
    """Change a server so that no list of changes shows it."""
    server = world.cloud.servers[server_id]
    world.cloud.change(server_id, updated_at=server.snapshot.updated_at, **fields)


async def takes_over(world: SyncWorld, service: SyncService) -> None:
    """The holder of the lease is gone, and this process sweeps everything."""
    world.clock.advance(seconds=FULL)
    assert await service.sweepers[ACCOUNT].sweep_once()


async def test_a_fleet_that_is_as_it_was_is_neither_read_nor_written(world: SyncWorld) -> None:
    for n in range(30):
        world.server(new_id(), f"web-{n}")
        world.cloud.add(f"somebody-elses-{n}")
    await world.sweep()
    assert world.cloud.reads == 60
    async with writes(world) as written:
        assert await world.sweep() == []
        assert await world.sweep(after=FULL) == []
        assert await world.sweep() == []
    assert world.cloud.reads == 60
    assert written == []
    assert world.cloud.called("look") == 0, "what was passed over was seen all the same"


async def test_what_is_passed_over_counts_as_much_as_what_is_read(world: SyncWorld) -> None:
    for n in range(3):
        world.server(new_id(), f"web-{n}")
        world.cloud.add(f"somebody-elses-{n}")
    counted: list[float] = []
    for _ in range(3):
        await world.sweep(after=FULL)
        counted.append(
            REGISTRY.get_sample_value("hostler_sync_servers_seen_total", {"account": ACCOUNT}) or 0
        )
    assert counted[2] - counted[1] == 3


async def test_of_a_fleet_only_what_differs_is_read(world: SyncWorld) -> None:
    servers = [world.server(new_id(), f"web-{n}") for n in range(30)]
    await world.sweep()
    for server_id in servers[:3]:
        behind(world, server_id, state=VmState.STOPPED)
    assert len(changes(await world.sweep(after=FULL))) == 3
    assert world.cloud.reads == 33


@pytest.mark.parametrize("name", OTHERWISE)
async def test_each_field_that_differs_is_told(world: SyncWorld, name: str) -> None:
    _, server_id = await world.known()
    await world.sweep(after=FULL)
    behind(world, server_id, **{name: OTHERWISE[name]})
    (change,) = changes(await world.sweep(after=FULL))
    assert list(change.new) == [name]


def test_these_are_all_fields_that_can_differ_behind_the_back() -> None:
    assert OTHERWISE.keys() == VmSnapshot.model_fields.keys() - {"server_id", "updated_at"}


async def test_a_stranger_that_differs_is_told_again(world: SyncWorld) -> None:
    server_id = world.cloud.add("somebody-elses")
    await world.sweep()
    behind(world, server_id, name="renamed")
    assert names(await world.sweep(after=FULL)) == ["unmanaged.server.v1"]
    assert await world.sweep(after=FULL) == []
    assert world.cloud.reads == 2


async def test_a_stranger_that_is_marked_is_a_vm(world: SyncWorld) -> None:
    server_id = world.cloud.add("somebody-elses")
    await world.sweep()
    world.cloud.servers[server_id].mark = Mark(new_id(), "p1")
    assert len(changes(await world.sweep(after=FULL))) == 1


async def test_what_another_process_wrote_meanwhile_is_compared_with(
    world: SyncWorld, other: SyncService
) -> None:
    _, server_id = await world.known()
    world.cloud.change(server_id, name="renamed")
    await takes_over(world, other)
    assert [c.new["name"] for c in changes(await said(world.service.database))] == ["renamed"]
    behind(world, server_id, name="web-1")
    world.clock.advance(seconds=FULL)
    back = changes(await world.sweep())
    assert [c.new["name"] for c in back] == ["web-1"], "this is how this process knew it"


async def test_a_process_that_takes_over_says_nothing_twice(
    world: SyncWorld, other: SyncService
) -> None:
    await world.known()
    world.cloud.add("somebody-elses")
    await world.sweep()
    await takes_over(world, other)
    await takes_over(world, other)
    assert await said(world.service.database) == []
    assert world.cloud.reads == 4


async def test_what_could_not_be_written_is_read_and_told_later(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        raise LeaseLostError("sweep")

    _, server_id = await world.known()
    behind(world, server_id, name="renamed")
    with monkeypatch.context() as patched:
        patched.setattr(taking, "record", lost)
        world.clock.advance(seconds=FULL)
        assert not await world.sweeper.sweep_once()
    (change,) = changes(await world.sweep(after=FULL))
    assert change.new == {"name": "renamed"}


async def test_a_vm_that_is_to_be_looked_at_is_read(world: SyncWorld) -> None:
    vm_id, _ = await world.known()
    later = world.clock() + timedelta(hours=1)
    async with world.service.database.session() as session:
        due = update(VMS).where(VMS.c.vm_id == vm_id)
        await session.execute(due.values(look_due_at=later))
    await world.sweep(after=FULL)
    assert world.cloud.reads == 2
    row = await world.row(vm_id)
    assert isinstance(row, Vm)
    assert row.look_due_at is None


async def test_what_is_gone_is_forgotten(world: SyncWorld) -> None:
    servers = [world.server(new_id(), f"web-{n}") for n in range(5)]
    await world.sweep()
    assert len(world.sweeper.memory) == 5
    for server_id in servers[:3]:
        world.cloud.vanish(server_id)
    await world.sweep(after=FULL)
    assert len(world.sweeper.memory) == 2


async def test_a_driver_that_cannot_pass_over_servers_is_read_whole(sqlite_url: str) -> None:
    async with opened(SyncWorld(sqlite_url)) as world:
        world.driver = ReadOnlyDriver(world.cloud, ACCOUNT)
        _, server_id = await world.known()
        assert await world.sweep(after=FULL) == []
        behind(world, server_id, name="renamed")
        assert len(changes(await world.sweep(after=FULL))) == 1
