"""What an account holds that no VM has any more: which it is, and what is said of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast
from uuid import UUID

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.ids import new_id
from chassis.outbox import say
from contracts.inventory.events import OrphanFound, OrphanGone, ResourceKind
from contracts.message import Body, Message
from services.sync import metrics
from services.sync.holding import guarded
from services.sync.portions import portions
from services.sync.tables import Orphan, Watch
from services.sync.watching import Watching

Reason = Literal["vm_deleted", "second_server", "unknown_vm"]
Key = tuple[str, str]
"""Kind and id."""


@dataclass(frozen=True)
class Suspect:
    """Something that no VM seems to have. `proven`: its own mark says that Hostler made it."""

    kind: ResourceKind
    id: str
    name: str
    vm_id: UUID | None
    project_id: str
    reason: Reason
    proven: bool


async def compare(
    watching: Watching, kinds: Sequence[ResourceKind], suspects: Sequence[Suspect]
) -> None:
    """Take the suspects of a complete list of `kinds`: told are those that were so in the last, too.

    What belongs to a VM with an operation under way is left as it was.
    """
    async with watching.database.reading() as session:
        mine = Orphan.account == watching.account, Orphan.kind.in_(kinds)
        known = {
            (row.kind, row.id): row for row in await session.scalars(select(Orphan).where(*mine))
        }
        busy = set(
            await session.scalars(select(Watch.vm_id).where(Watch.account == watching.account))
        )
    found = {(s.kind, s.id): s for s in suspects if s.vm_id not in busy}
    left = {key for key, row in known.items() if row.vm_id in busy}
    gone = [row for key, row in known.items() if key not in found and key not in left]
    fresh = [s for key, s in found.items() if _is_news(known.get(key), s)]
    for part in portions(gone):
        async with guarded(watching.lease) as session:
            await _forget(session, watching, part)
    for some in portions(fresh):
        async with guarded(watching.lease) as session:
            await _note(session, watching, some, known)


def _is_news(row: Orphan | None, suspect: Suspect) -> bool:
    if row is None or not row.told:
        return True
    return (row.reason, row.proven) != (suspect.reason, suspect.proven)


async def _note(
    session: AsyncSession,
    watching: Watching,
    suspects: Iterable[Suspect],
    known: Mapping[Key, Orphan],
) -> None:
    said: list[Message[Body]] = []
    for suspect in suspects:
        before = known.get((suspect.kind, suspect.id))
        row = _row(watching, suspect, before)
        await session.merge(row)
        if row.told:
            metrics.ORPHANS.labels(watching.account, suspect.kind, suspect.reason).inc()
            said.append(_found(watching, row))
    if said:
        await say(session, *said)


async def _forget(session: AsyncSession, watching: Watching, rows: Sequence[Orphan]) -> None:
    key = tuple_(Orphan.account, Orphan.kind, Orphan.id)
    await session.execute(delete(Orphan).where(key.in_([(r.account, r.kind, r.id) for r in rows])))
    said = [
        _message(watching, row, OrphanGone(kind=cast("ResourceKind", row.kind), id=row.id))
        for row in rows
        if row.told
    ]
    if said:
        await say(session, *said)


def _row(watching: Watching, suspect: Suspect, before: Orphan | None) -> Orphan:
    return Orphan(
        account=watching.account,
        kind=suspect.kind,
        id=suspect.id,
        name=suspect.name,
        vm_id=suspect.vm_id,
        project_id=suspect.project_id,
        reason=suspect.reason,
        proven=suspect.proven,
        found_at=before.found_at if before else watching.clock(),
        told=before is not None,
    )


def _found(watching: Watching, row: Orphan) -> Message[Body]:
    event = OrphanFound(
        kind=cast("ResourceKind", row.kind),
        id=row.id,
        name=row.name,
        vm_id=row.vm_id,
        reason=cast("Reason", row.reason),
        proven=row.proven,
        found_at=row.found_at,
    )
    return _message(watching, row, event)


def _message(watching: Watching, row: Orphan, event: OrphanFound | OrphanGone) -> Message[Body]:
    return Message[Body](
        id=new_id(),
        source="hostler/sync",
        time=watching.clock(),
        subject=f"{row.account}/{row.kind}/{row.id}",
        project_id=row.project_id,
        account=row.account,
        actor="cloud",
        data=event,
    )
