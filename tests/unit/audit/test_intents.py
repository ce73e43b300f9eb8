"""A command that nothing is heard of in time is told as a timeout, once, and a late end corrects it."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from chassis.ids import new_id
from chassis.testing import VirtualClock
from contracts.errors import ErrorCode
from contracts.operation.commands import Retry
from contracts.operation.events import Cancelled, Failed, Retrying, Succeeded
from contracts.operation.states import OperationError
from contracts.vm import commands
from services.audit.app import Audit
from services.audit.tables import INTENTS
from tests.unit.audit.world import ask, at, deliver, ledger, made, message, token, verify

GRACE = timedelta(minutes=15)
REBOOT = commands.Reboot()
AFTER = (commands.Reboot.deadline + GRACE).total_seconds()


async def command(audit: Audit, body: Any = REBOOT) -> UUID:
    """The operation of a command that audit has heard of."""
    operation = new_id()
    await deliver(audit, at(message(body, operation=operation, time=audit.service.clock())))
    return operation


async def end(audit: Audit, operation: UUID, body: Any) -> None:
    await deliver(audit, at(message(body, operation=operation, time=audit.service.clock())))


async def overdue(audit: Audit, clock: VirtualClock) -> list[str | None]:
    answer = await ask(audit, "/v1/audit", token(clock), {"outcome": "timeout"})
    assert answer.status_code == 200, answer.text
    return [item["operation_id"] for item in answer.json()["items"]]


async def test_a_command_without_an_outcome_becomes_a_timeout_after_deadline_and_grace(
    audit: Audit, clock: VirtualClock
) -> None:
    operation = await command(audit)
    clock.advance(seconds=AFTER - 1)
    assert await audit.intents.look() == 0
    clock.advance(seconds=2)
    assert (await audit.intents.look(), await audit.intents.look()) == (1, 0)
    assert await overdue(audit, clock) == [str(operation)]
    row = (await ledger(audit))[-1]
    assert (row["chain"], row["type"]) == ("audit.timeouts/0", "operation.timeout.v1")
    assert (row["project_id"], str(row["vm_id"])) == ("demo", row["subject"])
    assert (await verify(audit)).valid


async def test_an_outcome_in_time_is_none_whichever_is_heard_first(
    audit: Audit, clock: VirtualClock
) -> None:
    error = OperationError(code=ErrorCode.QUOTA, detail="full")
    for body in (
        Succeeded(command="vm.reboot.v1"),
        Failed(command="vm.reboot.v1", error=error),
        Cancelled(command="vm.reboot.v1"),
    ):
        await end(audit, await command(audit), body)
    early = new_id()
    await end(audit, early, Succeeded(command="vm.reboot.v1"))
    await audit.intents.look()
    await deliver(audit, at(message(REBOOT, operation=early, time=clock())))
    clock.advance(days=1)
    assert await audit.intents.look() == 0


async def test_a_late_outcome_corrects_the_picture_and_no_row(
    audit: Audit, clock: VirtualClock
) -> None:
    operation = await command(audit)
    clock.advance(days=1)
    await audit.intents.look()
    before = [dict(row) for row in await ledger(audit)]
    await end(audit, operation, Succeeded(command="vm.reboot.v1"))
    await audit.intents.look()
    assert await overdue(audit, clock) == []
    assert [dict(row) for row in await ledger(audit)][: len(before)] == before
    told = await ask(audit, "/v1/audit", token(clock), {"type": "operation.timeout.v1"})
    assert len(told.json()["items"]) == 1, "it was overdue, and that stays"


async def test_a_deadline_that_is_moved_is_waited_for(audit: Audit, clock: VirtualClock) -> None:
    operation = await command(audit)
    later = clock() + timedelta(hours=2)
    error = OperationError(code=ErrorCode.CLOUD_BUSY, detail="busy")
    moved = Retrying(
        command="vm.reboot.v1", attempt=2, due_at=later, error=error, deadline_at=later
    )
    await end(audit, operation, moved)
    other = await command(audit)
    clock.advance(minutes=15)
    await end(audit, other, Retry(target=other))
    clock.advance(seconds=AFTER - 15 * 60 + 1)
    assert await audit.intents.look() == 0
    clock.advance(hours=2, minutes=1)
    assert await audit.intents.look() == 2


async def test_after_an_outage_of_audit_the_grace_begins_when_the_command_is_heard_of(
    audit: Audit, clock: VirtualClock
) -> None:
    said = message(REBOOT, operation=new_id(), time=clock())
    clock.advance(days=2)
    await deliver(audit, at(said))
    assert await audit.intents.look() == 0


async def test_two_replicas_at_once_tell_it_once(
    audit: Audit, database_url: str, clock: VirtualClock
) -> None:
    another = made(database_url, clock)
    try:
        for _ in range(3):
            await command(audit)
        clock.advance(days=1)
        assert await audit.intents.look() == 3
        async with audit.service.database.session() as session:
            await session.execute(INTENTS.update().values(due_at=clock()))
        await asyncio.gather(another.intents.look(), return_exceptions=True)
        assert len([r for r in await ledger(audit) if r["type"] == "operation.timeout.v1"]) == 3
    finally:
        await another.service.database.close()


async def test_what_ended_long_ago_is_known_no_more(audit: Audit, clock: VirtualClock) -> None:
    await end(audit, await command(audit), Succeeded(command="vm.reboot.v1"))
    await audit.intents.look()
    clock.advance(days=31)
    await audit.intents.look()
    async with audit.service.database.reading() as session:
        assert (await session.execute(select(INTENTS))).all() == []
