"""What sync promises about cost, and about several accounts and processes at once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

from chassis.errors import Retry
from chassis.ids import new_id
from chassis.testing import said
from contracts.errors import ErrorCode
from contracts.vm.states import VmState
from drivers.base import Looked
from services.sync.app import build
from services.sync.settings import SyncSettings
from tests.fakes.driver import FakeCloud, FakeDriver
from tests.unit.sync.world import ACCOUNT, SyncWorld, changes, writes


class Paged(FakeDriver):
    """Gives two servers a page, and breaks off after `pages` of them if told."""

    pages: int | None = None

    async def sweep(self, since: datetime | None) -> AsyncIterator[Looked]:
        async for whole in super().sweep(since):
            for n, start in enumerate(range(0, max(len(whole.servers), 1), 2)):
                if n == self.pages:
                    raise Retry(ErrorCode.CLOUD_UNAVAILABLE, "broke off")
                yield Looked(whole.servers[start : start + 2], whole.clock)


async def test_ten_thousand_servers_cost_what_changes_of_them(world: SyncWorld) -> None:
    vm_ids = [new_id() for _ in range(10_000)]
    servers = [world.server(vm_id, f"web-{n}") for n, vm_id in enumerate(vm_ids)]
    await world.remember(vm_ids)
    async with writes(world) as written:
        assert await world.sweep() == []
        assert written == []
        for server_id in servers[::100]:
            world.cloud.change(server_id, state=VmState.STOPPED)
        assert len(await world.sweep()) == 200
    assert sum("vms" in each for each in written) <= 110
    assert sum("outbox" in each for each in written) <= 200


async def test_a_sweep_killed_between_pages_is_repeated_without_saying_twice(
    world: SyncWorld,
) -> None:
    world.driver = driver = Paged(world.cloud, ACCOUNT)
    world.service = world.replica()
    vm_ids = [new_id() for _ in range(6)]
    for vm_id in vm_ids:
        world.server(vm_id)
    driver.pages = 2
    broken = await world.fail_to_sweep()
    assert len(changes(broken)) == 4
    assert (await world.account()).since is None
    driver.pages = None
    rest = await world.sweep()
    assert len(changes(rest)) == 2
    assert {m.subject for m in [*broken, *rest]} == {str(vm_id) for vm_id in vm_ids}


async def test_two_processes_share_one_account_by_its_lease(world: SyncWorld) -> None:
    other = world.replica()
    try:
        _, server_id = await world.known()
        world.cloud.change(server_id, state=VmState.STOPPED)
        assert not await other.sweepers[ACCOUNT].sweep_once()
        assert await said(world.service.database) == []
        world.clock.advance(seconds=6)  # the holder was killed: its lease runs out
        assert await other.sweepers[ACCOUNT].sweep_once()
        assert len(changes(await said(world.service.database))) == 1
        assert not await world.sweeper.sweep_once()
    finally:
        await other.database.close()


async def test_a_process_that_lost_its_lease_in_a_sweep_writes_nothing(world: SyncWorld) -> None:
    other = world.replica()
    try:
        _, server_id = await world.known()
        world.cloud.change(server_id, state=VmState.STOPPED)
        gate = world.cloud.gates["sweep"] = asyncio.Event()
        world.cloud.arrived["sweep"].clear()
        slow = asyncio.create_task(world.sweeper.sweep_once())
        await world.cloud.arrived["sweep"].wait()
        world.clock.advance(seconds=6)
        assert await other.sweepers[ACCOUNT].lease.hold()
        gate.set()
        assert not await slow
        assert await said(world.service.database) == []
        assert await other.sweepers[ACCOUNT].sweep_once()
        assert len(changes(await said(world.service.database))) == 1
    finally:
        await other.database.close()


async def test_an_account_that_hangs_delays_no_other(world: SyncWorld) -> None:
    hanging, healthy = FakeCloud(world.clock), FakeCloud(world.clock)
    hanging.gates["sweep"] = asyncio.Event()
    clouds = {"a": hanging, "b": healthy}
    settings = SyncSettings(database_url=world.url, projects={"p1": "a", "p2": "b"})
    service = build(settings, clock=world.clock, drivers=lambda n: FakeDriver(clouds[n], n))
    stuck = asyncio.create_task(service.sweepers["a"].run())
    try:
        await hanging.arrived["sweep"].wait()
        assert await service.sweepers["b"].sweep_once()
    finally:
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        assert await service.sweepers["a"].lease.hold()
        await service.database.close()


async def test_a_sweeper_that_is_stopped_gives_its_lease_back(world: SyncWorld) -> None:
    other = world.replica()
    running = asyncio.create_task(world.sweeper.run())
    await world.cloud.arrived["sweep"].wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    try:
        assert await other.sweepers[ACCOUNT].lease.hold()
    finally:
        await other.database.close()
