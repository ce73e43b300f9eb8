"""Compares what an answer of the cloud shows with what is known; writes and says what differs."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from chassis.outbox import say
from contracts.message import Body, Message
from contracts.vm.states import VmState
from drivers.base import Seen
from services.sync import metrics, watches
from services.sync.drift import canonical, choose
from services.sync.saying import Cause, Clock, change, known
from services.sync.tables import VMS, Vm

LOG = logging.getLogger(__name__)
Sightings = Mapping[UUID, Sequence[Seen]]


def by_vm(servers: Iterable[Seen]) -> dict[UUID, list[Seen]]:
    """The servers that carry Hostler's mark, by the VM that they stand for."""
    found: dict[UUID, list[Seen]] = {}
    for seen in servers:
        if seen.mark is not None:
            found.setdefault(seen.mark.vm_id, []).append(seen)
    return found


async def news(session: AsyncSession, sightings: Sightings, at: datetime) -> Sightings:
    """Those of the sightings, made at the cloud's time `at`, that are not known. Only reads."""
    rows = {row.vm_id: row for row in await _rows(session, sightings)}
    for row in rows.values():
        _note_surplus(row, sightings[row.vm_id])
    return {i: seen for i, seen in sightings.items() if _pick(rows.get(i), seen, at)}


async def record(
    session: AsyncSession, account: str, sightings: Sightings, at: datetime, clock: Clock
) -> None:
    """Write sightings and say what changed. Unknown VMs are taken in with their mark's project."""
    await _take_in(session, account, sightings)
    rows = await _rows(session, sightings, lock=True)
    watched = await watches.of_vms(session, sightings.keys())
    said: list[Message[Body]] = []
    for row in rows:
        picked = _pick(row, sightings[row.vm_id], at)
        if picked is not None:
            cause = Cause.of(watched[row.vm_id][-1] if row.vm_id in watched else None)
            said += change(row, canonical(picked.snapshot), at, cause, clock)
    if said:
        await say(session, *said)


async def _rows(session: AsyncSession, sightings: Sightings, *, lock: bool = False) -> list[Vm]:
    """The known rows; locked ones in one order, so that two transactions cannot wait in a ring."""
    asked = select(Vm).where(Vm.vm_id.in_(sightings.keys())).order_by(Vm.vm_id)
    return list(await session.scalars(asked.with_for_update() if lock else asked))


async def _take_in(session: AsyncSession, account: str, sightings: Sightings) -> None:
    rows = [
        {
            "vm_id": seen[0].mark.vm_id,
            "project_id": seen[0].mark.project_id,
            "account": account,
            "state": VmState.UNKNOWN.value,
            "version": 0,
        }
        for seen in sightings.values()
        if seen[0].mark is not None
    ]
    await session.execute(insert(session, VMS).values(rows).on_conflict_do_nothing())


def _pick(row: Vm | None, seen: Sequence[Seen], at: datetime) -> Seen | None:
    """The server that is the VM, if it shows anything that is not known."""
    if row is None:
        return choose(None, VmState.UNKNOWN, seen)[0]
    chosen, _surplus = choose(row.server_id, VmState(row.state), seen)
    if chosen is None or (row.observed_at is not None and at < row.observed_at):
        return None
    if chosen.snapshot.state is VmState.DELETED and row.state == VmState.DELETED:
        return None
    unknown = row.look_due_at is not None or canonical(chosen.snapshot) != known(row)
    return chosen if unknown else None


def _note_surplus(row: Vm, seen: Sequence[Seen]) -> None:
    _chosen, surplus = choose(row.server_id, VmState(row.state), seen)
    for other in surplus:
        metrics.SURPLUS.labels(row.account).inc()
        LOG.warning("%s has a second server %s", row.vm_id, other.snapshot.server_id)
