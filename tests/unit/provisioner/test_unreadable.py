"""A row that another version wrote, or that is broken, ends as all others do and holds up none."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text, update

from chassis.ids import new_id
from contracts.errors import ErrorCode
from contracts.operation.events import Failed, Retrying
from contracts.vm.commands import Import, Stop
from services.provisioner import deadlines
from services.provisioner.tables import Operation
from tests.unit.provisioner.world import CREATE, Bench

FAILED = "operation.failed.v1"
NEWER: dict[str, Any] = {"command": "vm.stop.v9"}
UNKNOWN_FIELD: dict[str, Any] = {"data": {"since_version_9": True}}
NO_OBJECT: dict[str, Any] = {"data": ["broken"]}


async def spoil(bench: Bench, operation_id: UUID, **values: Any) -> None:
    async with bench.service.database.session() as session:
        mine = update(Operation).where(Operation.id == operation_id)
        await session.execute(mine.values(**values))


async def stop_of_another(bench: Bench) -> UUID:
    """A stop of a VM of its own."""
    return await bench.ask(Stop(), vm_id=new_id())


@pytest.mark.parametrize("values", [NEWER, UNKNOWN_FIELD, NO_OBJECT])
async def test_an_unreadable_row_that_is_first_to_expire_is_ended_and_so_are_those_behind_it(
    bench: Bench, values: dict[str, Any]
) -> None:
    spoiled = await stop_of_another(bench)
    bench.clock.advance(seconds=1)
    whole = await stop_of_another(bench)
    await spoil(bench, spoiled, **values)
    bench.clock.advance(minutes=6)
    await bench.service.worker.claim()
    assert [await bench.state(each) for each in (spoiled, whole)] == ["failed", "failed"]
    assert await bench.heard() == [FAILED, FAILED]
    told: dict[UUID | None, Failed] = {
        m.operation_id: m.data for m in bench.log if isinstance(m.data, Failed)
    }
    assert told[spoiled].error.code is ErrorCode.UNREADABLE
    assert told[whole].error.code is ErrorCode.DEADLINE


async def test_text_that_is_no_json_holds_up_no_deadline(sqlite_url: str) -> None:
    bench = Bench(sqlite_url)
    spoiled, whole = await stop_of_another(bench), await stop_of_another(bench)
    async with bench.service.database.session() as session:
        first = text("UPDATE operations SET data = '{broken', error = '[' WHERE seq = 1")
        await session.execute(first)
    bench.clock.advance(minutes=6)
    await bench.service.worker.claim()
    assert [await bench.state(each) for each in (spoiled, whole)] == ["failed", "failed"]
    await bench.close()


async def test_one_that_cannot_be_ended_at_all_is_passed_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await stop_of_another(bench)
    bench.clock.advance(seconds=1)
    second = await stop_of_another(bench)
    past = deadlines.past

    def stumbles(operation: Operation) -> Any:
        if operation.id == first:
            raise RuntimeError("a bug")
        return past(operation)

    monkeypatch.setattr(deadlines, "past", stumbles)
    bench.clock.advance(minutes=6)
    await bench.service.worker.claim()
    assert [await bench.state(each) for each in (first, second)] == ["queued", "failed"]
    assert await bench.heard() == [FAILED]


async def test_an_unreadable_row_is_left_to_who_can_read_it_and_stops_no_other_work(
    bench: Bench,
) -> None:
    newer, mine = await stop_of_another(bench), await bench.ask(CREATE)
    await spoil(bench, newer, **NEWER)
    await bench.work()
    assert await bench.state(mine) == "waiting"
    row = await bench.row(newer)
    assert (row.state, row.attempts, row.lease_token) == ("queued", 0, None)
    await spoil(bench, newer, command=Stop.wire_name())
    await bench.later(31)
    assert (await bench.row(newer)).attempts == 1


async def test_an_unreadable_import_stops_no_other_import(bench: Bench) -> None:
    server = bench.cloud.add("stranger")
    newer = await bench.ask(Import(server_id="other"), vm_id=new_id())
    await spoil(bench, newer, **UNKNOWN_FIELD)
    taken = await bench.ask(Import(server_id=server))
    await bench.work()
    assert await bench.state(taken) == "waiting"


async def test_an_unreadable_row_is_cancelled_abandoned_and_told_of_to_who_retries(
    bench: Bench,
) -> None:
    cancelled = await bench.ask(Stop())
    await spoil(bench, cancelled, **NEWER)
    await bench.retry(cancelled)
    await bench.heard()
    assert bench.last(Retrying).error.code is ErrorCode.UNREADABLE
    await bench.cancel(cancelled)
    assert await bench.state(cancelled) == "cancelled"
    abandoned = await bench.ask(Stop())
    await spoil(bench, abandoned, **NO_OBJECT)
    await bench.abandon(abandoned)
    assert await bench.state(abandoned) == "failed"


async def test_an_error_that_another_version_wrote_is_told_as_far_as_it_can_be_read(
    bench: Bench,
) -> None:
    operation_id = await stop_of_another(bench)
    await spoil(bench, operation_id, error={"code": "of_version_9", "detail": "the moon"})
    bench.clock.advance(minutes=6)
    await bench.service.worker.claim()
    await bench.heard()
    assert "the moon" in bench.last(Failed).error.detail
