"""Compares what an answer of the cloud shows with what is known; writes and says what differs."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from chassis.outbox import say
from contracts.message import Body, Message
from contracts.vm.states import VmSnapshot, VmState
from drivers.base import Seen
from services.sync import metrics, watches
from services.sync.drift import canonical, choose, ended
from services.sync.saying import Cause, Clock, change, known
from services.sync.tables import VMS, Vm

LOG = logging.getLogger(__name__)
Sightings = Mapping[UUID, Sequence[Seen]]


async def news(
    session: AsyncSession, account: str, servers: Sequence[Seen], at: datetime
) -> Sightings:
    """What an answer of the cloud's time `at` shows of Hostler's VMs that is not known. Only reads."""
    sightings = await _sightings(session, account, servers)
    metrics.SERVERS.labels(account).inc(len(sightings))
    rows = {row.vm_id: row for row in await _rows(session, sightings)}
    for row in rows.values():
        _note_surplus(row, sightings[row.vm_id])
    return {i: seen for i, seen in sightings.items() if _pick(rows.get(i), seen, at)}


async def _sightings(
    session: AsyncSession, account: str, servers: Sequence[Seen]
) -> dict[UUID, list[Seen]]:
    """The servers by VM: that of their mark or, without one, that whose server it is known to be.

    Clouds take the mark off what they delete (Nova drops the tags).
    """
    owners = await _owners(session, account, [s.snapshot.server_id for s in servers if not s.mark])
    sightings: dict[UUID, list[Seen]] = {}
    for seen in servers:
        vm_id = seen.mark.vm_id if seen.mark else owners.get(seen.snapshot.server_id)
        if vm_id is not None:
            sightings.setdefault(vm_id, []).append(seen)
    return sightings


async def _owners(
    session: AsyncSession, account: str, server_ids: Sequence[str | None]
) -> dict[str | None, UUID]:
    if not server_ids:
        return {}
    owned = Vm.account == account, Vm.server_id.in_(server_ids)
    found = await session.execute(select(Vm.server_id, Vm.vm_id).where(*owned))
    return dict(found.tuples().all())


async def record(
    session: AsyncSession, account: str, sightings: Sightings, at: datetime, clock: Clock
) -> None:
    """Write sightings and say what changed. Unknown VMs are taken in with their mark's project."""
    rows = await _rows(session, sightings, lock=True)
    unknown = {i: sightings[i] for i in sightings.keys() - {row.vm_id for row in rows}}
    if unknown:
        await _take_in(session, account, unknown)
        rows += await _rows(session, unknown, lock=True)
    watched = await watches.of_vms(session, sightings.keys())
    said: list[Message[Body]] = []
    for row in rows:
        picked = _pick(row, sightings[row.vm_id], at)
        if picked is not None:
            cause = Cause.of(watched[row.vm_id][-1] if row.vm_id in watched else None)
            said += change(row, _picture(row, picked.snapshot), at, cause, clock)
    if said:
        await say(session, *said)


def _picture(row: Vm, snapshot: VmSnapshot) -> VmSnapshot:
    """The snapshot; of a deleted server what it was, since clouds forget that (Nova: its tags)."""
    if snapshot.state is VmState.DELETED:
        return ended(known(row), snapshot.server_id, VmState.DELETED)
    return canonical(snapshot)


async def _rows(session: AsyncSession, sightings: Sightings, *, lock: bool = False) -> list[Vm]:
    """The known rows; locked ones in one order, so that two transactions cannot wait in a ring."""
    asked = select(Vm).where(Vm.vm_id.in_(sightings.keys())).order_by(Vm.vm_id)
    return list(await session.scalars(asked.with_for_update() if lock else asked))


async def _take_in(session: AsyncSession, account: str, sightings: Sightings) -> None:
    """Make rows for VMs that have none: their servers carry the mark, or no VM was found."""
    marks = [seen.mark for each in sightings.values() for seen in each if seen.mark is not None]
    unknown = {"account": account, "state": VmState.UNKNOWN.value, "version": 0}
    rows = {m.vm_id: {"vm_id": m.vm_id, "project_id": m.project_id, **unknown} for m in marks}
    new = insert(session, VMS).on_conflict_do_nothing()
    await session.execute(new, list(rows.values()))


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
