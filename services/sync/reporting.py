"""After a complete sweep: tells the operations that wait how their VMs were seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.outbox import say
from contracts.message import Body, Message
from services.sync import metrics, watches
from services.sync.holding import guarded
from services.sync.portions import portions
from services.sync.saying import observed
from services.sync.tables import Vm, Watch
from services.sync.watching import Watching


async def report(watching: Watching, at: datetime) -> None:
    """Say `vm.observed.v1` for issued operations that a sweep of the time `at` can answer for.

    A VM that was not in a complete answer is as it was. Only what something may follow from is
    said: that the cloud is done with the server, once after the call and after each change, and
    every few seconds that anything is the matter at all.
    """
    account = watching.account
    async with watching.database.reading() as session:
        total = await session.scalar(select(func.count()).where(Watch.account == account))
        metrics.WATCHES.labels(account).set(total or 0)
        if not total:
            return
        waiting = await _waiting(session, watching, at)
    for part in portions(waiting):
        async with guarded(watching.lease) as session:
            await _report(session, watching, part, at)
    async with guarded(watching.lease) as session:
        await watches.forget_overdue(session, account, watching.clock)


async def _waiting(session: AsyncSession, watching: Watching, at: datetime) -> list[UUID]:
    """The VMs of operations that there is something to say to."""
    columns = Watch.vm_id, Watch.command, Watch.called_at, Watch.observed_at
    issued = Watch.account == watching.account, Watch.state == watches.ISSUED
    asked = select(*columns, Vm.idle, Vm.observed_at).join(Vm, Vm.vm_id == Watch.vm_id)
    found = await session.execute(asked.where(*issued).order_by(Watch.vm_id))
    return [
        vm_id
        for vm_id, command, called, told, idle, changed in found.tuples()
        if watches.shows_in_sweep(command)
        and (told is None or at > told)
        and _tells(at, Sight(called, told, changed, idle=bool(idle)), watching.settings.quiet)
    ]


@dataclass(frozen=True)
class Sight:
    """When, by the cloud's clock, an operation was issued, last told of its VM, the VM changed."""

    called: datetime | None
    told: datetime | None
    changed: datetime | None
    idle: bool


def _tells(at: datetime, sight: Sight, quiet: timedelta) -> bool:
    """Whether anything may follow from another sight of the VM at `at`."""
    if sight.called is not None and at < sight.called:
        return False
    since = max((t for t in (sight.called, sight.told) if t is not None), default=None)
    if since is None or at - since >= quiet:
        return True
    ambiguous = sight.told is None or (sight.called is not None and sight.told <= sight.called)
    newer = sight.told is None or (sight.changed is not None and sight.changed > sight.told)
    return sight.idle and (ambiguous or newer)


async def _report(
    session: AsyncSession, watching: Watching, vm_ids: Sequence[UUID], at: datetime
) -> None:
    """The VMs are locked first, as whoever ends a watch does."""
    rows = select(Vm).where(among(Vm.vm_id, vm_ids)).order_by(Vm.vm_id).with_for_update()
    known = {row.vm_id: row for row in await session.scalars(rows)}
    waiting = among(Watch.vm_id, vm_ids), Watch.state == watches.ISSUED
    later = watching.clock() + timedelta(seconds=watching.settings.look_after_seconds)
    said: list[Message[Body]] = []
    for watch in await session.scalars(select(Watch).where(*waiting).order_by(Watch.vm_id)):
        if watch.vm_id not in known or not watches.shows_in_sweep(watch.command):
            continue
        messages = observed(known[watch.vm_id], watch, at, watching.clock)
        if messages and watch.command != watches.DELETE:
            watch.look_due_at = later
        said += messages
    if said:
        await say(session, *said)
