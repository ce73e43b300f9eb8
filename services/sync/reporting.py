"""After a complete sweep: tells the operations that wait how their VMs were seen."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.leases import NamedLease
from chassis.outbox import say
from contracts.message import Body, Message
from services.sync import metrics, watches
from services.sync.holding import guarded
from services.sync.portions import portions
from services.sync.saying import Clock, observed
from services.sync.settings import SyncSettings
from services.sync.tables import Vm, Watch


async def report(
    lease: NamedLease, account: str, at: datetime, settings: SyncSettings, clock: Clock
) -> None:
    """Say `vm.observed.v1` for every issued operation that a sweep of the time `at` can answer for.

    A VM that was not in a complete answer is as it was.
    """
    async with lease.database.reading() as session:
        total = await session.scalar(select(func.count()).where(Watch.account == account))
        metrics.WATCHES.labels(account).set(total or 0)
        if not total:
            return
        waiting = await _waiting(session, account, at)
    for operation_ids in portions(waiting):
        async with guarded(lease) as session:
            await _report(session, operation_ids, at, settings, clock)
    async with guarded(lease) as session:
        await watches.forget_overdue(session, account, clock)


async def _waiting(session: AsyncSession, account: str, at: datetime) -> list[UUID]:
    issued = Watch.account == account, Watch.state == watches.ISSUED
    return [
        watch.operation_id
        for watch in await session.scalars(select(Watch).where(*issued))
        if watches.shows_in_sweep(watch.command)
        and (watch.called_at is None or at >= watch.called_at)
        and (watch.observed_at is None or at > watch.observed_at)
    ]


async def _report(
    session: AsyncSession,
    operation_ids: Sequence[UUID],
    at: datetime,
    settings: SyncSettings,
    clock: Clock,
) -> None:
    waiting = Watch.operation_id.in_(operation_ids), Watch.state == watches.ISSUED
    found = {w.vm_id: w for w in await session.scalars(select(Watch).where(*waiting))}
    rows = select(Vm).where(Vm.vm_id.in_(found)).order_by(Vm.vm_id).with_for_update()
    said: list[Message[Body]] = []
    for row in await session.scalars(rows):
        watch = found[row.vm_id]
        messages = observed(row, watch, at, clock)
        if messages and watch.command != watches.DELETE:
            watch.look_due_at = clock() + timedelta(seconds=settings.look_after_seconds)
        said += messages
    if said:
        await say(session, *said)
