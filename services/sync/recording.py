"""Compares what an answer of the cloud shows with what is known; writes and says what differs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.database import insert
from chassis.leases import Clock
from chassis.outbox import say
from contracts.message import Body, Message
from contracts.vm.states import VmState
from drivers.base import Seen
from services.sync import metrics, strangers, watches
from services.sync.drift import canonical, choose, digest, pictured
from services.sync.saying import Cause, change, known
from services.sync.tables import FORMER, VMS, Vm
from services.sync.watching import Watching

Sightings = Mapping[UUID, Sequence[Seen]]


@dataclass(frozen=True)
class News:
    """What an answer shows that is not known: of Hostler's VMs, and of servers that are none's."""

    found: Sightings
    strange: strangers.Strange


@dataclass(frozen=True)
class Known:
    """What there is to know of a VM to tell whether an answer shows news of it."""

    vm_id: UUID
    account: str
    server_id: str | None
    state: VmState
    digest: str | None
    observed_at: datetime | None
    look_due_at: datetime | None

    @classmethod
    def of(cls, row: Vm) -> "Known":
        """The same of a row that is read whole."""
        state, due = VmState(row.state), row.look_due_at
        return cls(row.vm_id, row.account, row.server_id, state, row.digest, row.observed_at, due)


async def news(
    session: AsyncSession, watching: Watching, servers: Sequence[Seen], at: datetime
) -> News:
    """What an answer of the cloud's time `at` shows that is not known.

    Only reads, and not much: one query for VMs, without their snapshots, and one for strangers.
    """
    known = await look_up(session, watching.account, servers)
    sightings, strange = _owned(watching, servers, known)
    metrics.SERVERS.labels(watching.account).inc(len(sightings))
    rows = {row.vm_id: row for row in known}
    found = {i: seen for i, seen in sightings.items() if _is_news(rows.get(i), seen, at)}
    return News(found, await strangers.unsaid(session, watching.account, strange))


async def look_up(session: AsyncSession, account: str, servers: Sequence[Seen]) -> list[Known]:
    """The VMs whose mark or whose server's id an answer shows."""
    vm_ids = {seen.mark.vm_id for seen in servers if seen.mark}
    server_ids = [seen.snapshot.server_id for seen in servers]
    theirs = (Vm.account == account) & among(Vm.server_id, server_ids)
    one, two = (Vm.vm_id, Vm.account, Vm.server_id), (Vm.digest, Vm.observed_at, Vm.look_due_at)
    asked = select(*one, Vm.state, *two).where(among(Vm.vm_id, vm_ids) | theirs)
    found = (await session.execute(asked)).tuples()
    return [Known(i, a, s, VmState(state), d, seen, due) for i, a, s, state, d, seen, due in found]


def owners(known: Iterable[Known], account: str) -> dict[str, Known]:
    """By server's id the VM that has it; of several a living one, of which there is one at most."""
    mine = [row for row in known if row.account == account and row.server_id is not None]
    mine.sort(key=lambda row: row.state is not VmState.DELETED)
    return {row.server_id or "": row for row in mine}


def _owned(
    watching: Watching, servers: Sequence[Seen], known: Sequence[Known]
) -> tuple[dict[UUID, list[Seen]], list[Seen]]:
    """The servers by VM, and those that are nobody's.

    A server belongs to the living VM that has it, whatever its mark says: clouds take the mark off
    what they delete (Nova drops the tags), and an imported one never had any.
    """
    by_server = owners(known, watching.account)
    elsewhere = {row.vm_id for row in known if row.account != watching.account}
    new = watching.projects
    rows = {row.vm_id for row in known}
    sightings: dict[UUID, list[Seen]] = {}
    strange: list[Seen] = []
    for seen in servers:
        owner, mark = by_server.get(seen.snapshot.server_id or ""), seen.mark
        if owner is not None and (mark is None or owner.state is not VmState.DELETED):
            sightings.setdefault(owner.vm_id, []).append(seen)
        elif mark is None:
            strange.append(seen)
        elif mark.vm_id not in elsewhere and (mark.vm_id in rows or mark.project_id in new):
            sightings.setdefault(mark.vm_id, []).append(seen)
    return sightings, strange


async def record(
    session: AsyncSession, watching: Watching, sightings: Sightings, at: datetime
) -> None:
    """Write sightings and say what changed. Unknown VMs are taken in with their mark's project."""
    rows = await _rows(session, sightings)
    unknown = {i: sightings[i] for i in sightings.keys() - {row.vm_id for row in rows}}
    if unknown:
        await _take_in(session, watching.account, unknown)
        rows += await _rows(session, unknown)
    watched = await watches.of_vms(session, sightings.keys())
    had = {row.vm_id: row.server_id for row in rows}
    said: list[Message[Body]] = []
    for row in rows:
        said += _changes(row, sightings[row.vm_id], at, watched.get(row.vm_id, []), watching)
    if said:
        await say(session, *said)
    await keep_track(session, rows, had, watching.clock)


def _changes(
    row: Vm,
    seen: Sequence[Seen],
    at: datetime,
    watched: Sequence[watches.Watch],
    watching: Watching,
) -> list[Message[Body]]:
    creating = watches.creating(watched)
    chosen, _surplus = choose(row.server_id, VmState(row.state), seen, creating=creating)
    if chosen is None or not _differs(Known.of(row), chosen, at):
        return []
    picture = pictured(known(row), chosen.snapshot, creating=creating)
    return change(row, picture, at, Cause.of(watched[-1] if watched else None), watching.clock)


async def keep_track(
    session: AsyncSession, rows: Sequence[Vm], had: Mapping[UUID, str | None], clock: Clock
) -> None:
    """Remember the servers that VMs had and have no more; what they have now is no stranger's."""
    moved = [row for row in rows if row.server_id != had[row.vm_id]]
    lost = [
        {"account": row.account, "server_id": had[row.vm_id], "vm_id": row.vm_id}
        for row in moved
        if had[row.vm_id] is not None
    ]
    if lost:
        await session.execute(insert(session, FORMER).on_conflict_do_nothing(), lost)
    for account in {row.account for row in moved}:
        gained = {
            row.server_id: known(row)
            for row in moved
            if row.account == account and row.server_id is not None
        }
        await strangers.become_vms(session, account, gained, clock)


async def _rows(session: AsyncSession, sightings: Sightings) -> list[Vm]:
    """The known rows, locked in one order, so that two transactions cannot wait in a ring."""
    asked = select(Vm).where(among(Vm.vm_id, sightings.keys())).order_by(Vm.vm_id)
    return list(await session.scalars(asked.with_for_update()))


async def _take_in(session: AsyncSession, account: str, sightings: Sightings) -> None:
    """Make rows for VMs that have none and whose servers carry the mark.

    Without a mark it was imported, and the VM was dropped since it was looked for: nobody's now.
    """
    marks = [seen.mark for each in sightings.values() for seen in each if seen.mark is not None]
    unknown = {"account": account, "state": VmState.UNKNOWN.value, "version": 0}
    rows = {m.vm_id: {"vm_id": m.vm_id, "project_id": m.project_id, **unknown} for m in marks}
    if rows:
        new = insert(session, VMS).on_conflict_do_nothing()
        await session.execute(new, list(rows.values()))


def _is_news(row: Known | None, seen: Sequence[Seen], at: datetime) -> bool:
    """Whether a VM's servers may show anything new. Whether it is being made is asked later."""
    if row is None:
        return any(each.snapshot.state is not VmState.DELETED for each in seen)
    if len(seen) == 1 and seen[0].snapshot.server_id == row.server_id:
        return _differs(row, seen[0], at)
    chosen, _surplus = choose(row.server_id, row.state, seen, creating=True)
    return chosen is not None and _differs(row, chosen, at)


def _differs(row: Known, chosen: Seen, at: datetime) -> bool:
    if row.observed_at is not None and at < row.observed_at:
        return False
    if chosen.snapshot.state is VmState.DELETED and row.state is VmState.DELETED:
        return False
    return row.look_due_at is not None or digest(canonical(chosen.snapshot)) != row.digest
