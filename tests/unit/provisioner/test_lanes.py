"""A lane per account: a slow, dead or full cloud costs the others nothing."""

import asyncio
from datetime import timedelta

import pytest

from chassis.ids import new_id
from contracts.vm.commands import Delete
from contracts.vm.states import VmSnapshot, VmState
from drivers.base import Mark
from tests.fakes.driver import QUOTA, FakeCloud
from tests.unit.provisioner.world import CREATE, PROJECT, Bench


def separate(bench: Bench, *accounts: str) -> list[FakeCloud]:
    """Clouds of their own."""
    clouds = [FakeCloud(bench.clock) for _ in accounts]
    bench.others |= dict(zip(accounts, clouds, strict=True))
    return clouds


async def test_while_a_hundred_operations_hang_on_two_clouds_those_of_a_third_pass(
    bench: Bench,
) -> None:
    dead, slow, fast = separate(bench, "dead", "slow", "fast")
    bench.times = 1
    for hanging in (dead, slow):
        hanging.gates["create"] = asyncio.Event()
    for account in ("dead", "slow"):
        for _ in range(50):
            await bench.ask(CREATE, vm_id=new_id(), account=account)
    async with bench.working():
        await dead.arrived["create"].wait()
        await slow.arrived["create"].wait()
        for _ in range(30):
            await bench.ask(CREATE, vm_id=new_id(), account="fast")
        async with asyncio.timeout(60):
            while [r.state for r in await bench.rows() if r.account == "fast"] != ["waiting"] * 30:
                await asyncio.sleep(0.02)
        assert len(fast.alive()) == 30
        assert dead.alive() == slow.alive() == []
        assert dead.called("create") == min(50, bench.service.worker.settings.account_concurrency)
        for hanging in (dead, slow):
            hanging.gates["create"].set()


async def test_an_account_that_rests_is_not_asked_and_costs_no_attempt(bench: Bench) -> None:
    dead, _ = separate(bench, "dead", "fast")
    operation_id = await bench.ask(CREATE, vm_id=new_id(), account="dead")
    await bench.ask(CREATE, vm_id=new_id(), account="fast")
    dead.resting = bench.clock() + timedelta(seconds=20)
    assert await bench.work() == 1
    assert (dead.calls, (await bench.row(operation_id)).attempts) == ([], 0)
    assert await bench.later(20) == 1
    assert await bench.state(operation_id) == "waiting"


async def test_what_waits_for_a_resting_account_still_ends_at_its_deadline(bench: Bench) -> None:
    (dead,) = separate(bench, "dead")
    operation_id = await bench.ask(CREATE, vm_id=new_id(), account="dead")
    dead.resting = bench.clock() + timedelta(hours=2)
    await bench.later(15 * 60)
    assert await bench.state(operation_id) == "failed"


async def blocked(bench: Bench, count: int, account: str = "demo") -> list[str]:
    """Creates that wait for quota, with long pauses, in their order of arrival."""
    cloud = bench.others.get(account, bench.cloud)
    cloud.order("create", QUOTA, times=99)
    for _ in range(count):
        await bench.ask(CREATE, vm_id=new_id(), account=account)
    for _ in range(6):
        await bench.later(30)
    cloud.calm()
    return [r.state for r in await bench.rows()]


@pytest.mark.parametrize("blocked_count", [2, 8])
async def test_when_a_vm_was_deleted_the_oldest_that_wait_for_its_accounts_quota_are_tried(
    bench: Bench, blocked_count: int
) -> None:
    server_id = await bench.have_server()
    assert set(await blocked(bench, blocked_count)) == {"queued"}
    assert await bench.work() == 0
    await bench.see_change(VmSnapshot(server_id=server_id, state=VmState.DELETED))
    let_in = min(blocked_count, 5)
    assert await bench.work() == let_in
    states = [r.state for r in await bench.rows()]
    assert states == ["waiting"] * let_in + ["queued"] * (blocked_count - let_in)


async def test_another_accounts_room_is_no_room(bench: Bench) -> None:
    separate(bench, "other")
    server_id = await bench.have_server()
    await blocked(bench, 2, "other")
    await bench.see_change(VmSnapshot(server_id=server_id, state=VmState.DELETED))
    assert await bench.work() == 0


async def test_what_waits_for_quota_ends_at_its_deadline_and_not_before(bench: Bench) -> None:
    bench.cloud.order("create", QUOTA, times=999)
    operation_id = await bench.ask(CREATE)
    for _ in range(29):
        await bench.later(30)
    row = await bench.row(operation_id)
    assert (row.state, row.blocked_on) == ("queued", "quota")
    await bench.later(30)
    row = await bench.row(operation_id)
    assert row.state == "failed"
    assert row.reason is not None
    assert "Quota exceeded" in row.reason.detail


async def test_room_that_a_delete_made_is_used_without_waiting_for_the_backoff(
    bench: Bench,
) -> None:
    server_id = bench.cloud.add("old", VmState.ACTIVE, Mark(bench.vm_id, PROJECT))
    await bench.see()
    await blocked(bench, 1)
    await bench.ask(Delete())
    await bench.work()
    bench.cloud.settle()
    await bench.see_change(bench.cloud.servers[server_id].snapshot)
    await bench.work()
    assert sorted(r.state for r in await bench.rows()) == ["succeeded", "waiting"]


async def look(bench: Bench, seconds: float) -> str:
    """What the check of lanes says after a while."""
    bench.clock.advance(seconds=seconds)
    async with bench.service.database.reading() as session:
        await bench.service.standstill.measure(session)
    return await bench.service.standstill.probe()


async def test_an_account_whose_work_nobody_takes_is_named(bench: Bench) -> None:
    separate(bench, "still", "fast")
    await bench.ask(CREATE, vm_id=new_id(), account="still")
    assert await look(bench, 0) == "due: still"
    assert await look(bench, 179) == "due: still"
    with pytest.raises(
        RuntimeError, match=r"vm\.commands → still: operation \d+ is due, none.*for 181 s"
    ):
        await look(bench, 2)
    assert await bench.work() == 1
    assert await look(bench, 0) == "nothing is due"


async def test_an_account_that_is_slow_but_moves_does_not_stand(bench: Bench) -> None:
    for _ in range(3):
        await bench.ask(CREATE, vm_id=new_id())
    bench.service.worker.settings = bench.service.worker.settings.model_copy(
        update={"account_concurrency": 1}
    )
    for _ in range(3):
        await look(bench, 100)
        await bench.service.worker.step()


async def test_an_account_that_rests_does_not_stand(bench: Bench) -> None:
    (dead,) = separate(bench, "dead")
    await bench.ask(CREATE, vm_id=new_id(), account="dead")
    dead.resting = bench.clock() + timedelta(hours=1)
    assert await look(bench, 0) == "nothing is due"
    assert await look(bench, 600) == "nothing is due"
