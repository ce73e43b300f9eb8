"""How workers share the table: order, fairness, leases, drain."""

import asyncio
from datetime import timedelta

from sqlalchemy import select, update

from chassis.ids import new_id
from contracts.vm.commands import Stop
from services.provisioner.line import move_up
from services.provisioner.tables import Operation
from tests.unit.provisioner.world import CREATE, Bench


async def test_two_workers_on_one_table_do_nothing_twice(bench: Bench) -> None:
    for _ in range(20):
        await bench.ask(CREATE, vm_id=new_id())
    rival = bench.another().worker
    some, others = await asyncio.gather(bench.service.worker.claim(), rival.claim())
    ids = [claim.operation.id for claim in (*some, *others)]
    assert len(ids) == len(set(ids))
    await asyncio.gather(
        *(bench.service.worker.work(c) for c in some), *(rival.work(c) for c in others)
    )
    await bench.work()
    await rival.step()
    assert bench.cloud.called("create") == 20


async def test_one_slow_cloud_leaves_room_for_the_others(database_url: str) -> None:
    bench = Bench(database_url, account_concurrency=2)
    for _ in range(20):
        await bench.ask(CREATE, vm_id=new_id(), account="slow")
    for _ in range(3):
        await bench.ask(CREATE, vm_id=new_id(), account="fast")
    worker = bench.service.worker
    claims = await worker.claim()
    assert sorted(c.operation.account for c in claims) == ["fast", "fast", "slow", "slow"]
    for claim in claims:
        if claim.operation.account == "fast":
            await worker.work(claim)
    assert [c.operation.account for c in await worker.claim()] == ["fast"]
    await bench.close()


async def test_no_more_is_claimed_than_there_is_room_for(database_url: str) -> None:
    bench = Bench(database_url, account_concurrency=3)
    for _ in range(5):
        await bench.ask(CREATE, vm_id=new_id())
    assert len(await bench.service.worker.claim()) == 3
    assert await bench.service.worker.claim() == []
    await bench.close()


async def test_a_vms_second_command_is_nobodys_while_the_first_is_under_way(
    bench: Bench,
) -> None:
    await bench.have_server()
    await bench.ask(Stop())
    await bench.ask(Stop())
    rival = bench.another().worker
    assert len(await bench.service.worker.claim()) == 1
    assert await rival.claim() == []


async def test_a_lease_is_renewed_while_its_call_runs(database_url: str) -> None:
    bench = Bench(database_url, lease_ttl=timedelta(milliseconds=30))
    worker = bench.service.worker
    await bench.ask(CREATE)
    (claim,) = await worker.claim()
    renewing = asyncio.create_task(worker.renew_leases())
    bench.clock.advance(seconds=600)
    while (await bench.row(claim.operation.id)).due_at == claim.operation.due_at:
        await asyncio.sleep(0.01)
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)
    assert await bench.another().worker.claim() == []
    await bench.close()


async def test_a_drain_lets_the_call_under_way_finish_and_records_it(bench: Bench) -> None:
    gate = bench.cloud.gates["create"] = asyncio.Event()
    operation_id = await bench.ask(CREATE)
    async with bench.working() as running:
        await bench.cloud.arrived["create"].wait()
        running.cancel()
        await asyncio.sleep(0)
        gate.set()
    row = await bench.row(operation_id)
    assert (row.state, row.lease_token) == ("waiting", None)


async def test_a_drain_gives_back_what_does_not_finish_so_that_the_next_one_looks_first(
    database_url: str,
) -> None:
    bench = Bench(database_url, worker_drain=timedelta(0))
    bench.cloud.gates["create"] = asyncio.Event()
    operation_id = await bench.ask(CREATE)
    async with bench.working():
        await bench.cloud.arrived["create"].wait()
    row = await bench.row(operation_id)
    assert (row.state, row.lease_token) == ("queued", None)
    assert row.asked_at is not None
    bench.cloud.gates.clear()
    await bench.kill()
    await bench.later(3)
    assert bench.cloud.calls == ["create", "find", "create", "find"]
    assert len(bench.cloud.alive()) == 1
    await bench.close()


async def test_a_worker_at_rest_is_woken_by_a_new_command(database_url: str) -> None:
    bench = Bench(database_url, poll=timedelta(hours=1))
    async with bench.working():
        await asyncio.sleep(0.05)
        await bench.ask(CREATE)
        await asyncio.wait_for(bench.cloud.arrived["create"].wait(), 30)
    await bench.close()


async def test_a_drain_that_comes_together_with_new_work_is_not_lost(database_url: str) -> None:
    bench = Bench(database_url, poll=timedelta(hours=1))
    async with bench.working() as running:
        await asyncio.sleep(0.1)
        bench.service.worker.wake.set()
        running.cancel()
        await asyncio.wait([running], timeout=30)
        assert running.cancelled()
    await bench.close()


async def test_a_command_that_was_overlooked_when_the_one_ahead_ended_moves_up(
    bench: Bench,
) -> None:
    """It arrived in one transaction while another one ended what was ahead of it."""
    await bench.have_server()
    operation_id = await bench.ask(Stop())
    async with bench.service.database.session() as session:
        await session.execute(update(Operation).values(due_at=None))
    assert await bench.work() == 0
    async with bench.service.database.session() as session:
        assert await move_up(session, bench.clock()) == 1
    assert await bench.work() == 1
    assert await bench.state(operation_id) == "waiting"


async def test_what_another_transaction_holds_is_waited_for_by_nobody_and_moves_up_later(
    postgres_url: str,
) -> None:
    """Whoever moves rows up may hold others: waiting for them could be for ever."""
    bench = Bench(postgres_url)
    database = bench.service.database
    await bench.have_server()
    await bench.ask(Stop())
    async with database.session() as session:
        await session.execute(update(Operation).values(due_at=None))
    async with database.session() as holding:
        await holding.execute(select(Operation).with_for_update())
        async with asyncio.timeout(30), database.session() as session:
            assert await move_up(session, bench.clock()) == 0
    async with database.session() as session:
        assert await move_up(session, bench.clock()) == 1
    await bench.close()


async def test_what_is_overdue_is_not_begun_and_is_ended_by_who_watches_the_deadlines(
    bench: Bench,
) -> None:
    operation_id = await bench.ask(CREATE)
    bench.clock.advance(hours=2)
    worker = bench.service.worker
    both = [asyncio.create_task(worker.run()), asyncio.create_task(worker.watch_deadlines())]
    async with asyncio.timeout(60):
        while await bench.state(operation_id) == "queued":
            await asyncio.sleep(0.02)
    for task in both:
        task.cancel()
    await asyncio.gather(*both, return_exceptions=True)
    row = await bench.row(operation_id)
    assert (row.state, row.attempts, bench.cloud.calls) == ("failed", 0, [])


async def test_creates_that_come_together_and_again_are_queued_once_each(bench: Bench) -> None:
    first, second = await bench.ask(CREATE, vm_id=new_id()), await bench.ask(CREATE, vm_id=new_id())
    assert [row.id for row in await bench.rows()] == [first, second]
    assert await bench.work() == 2
