"""Orphans: what sync found without an owner, kept in mind, and removed where the operator says so.

Only what carries the mark of a VM that the ledger knows goes, only while that VM is deleted or has
another living server, and only after the cloud was asked once more. It is kept in mind until the
cloud shows it no longer; while it does, it is asked again.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.consumer import Batch
from chassis.database import Database, excluded, insert
from chassis.errors import HostlerError, Retry
from chassis.ids import new_id
from chassis.leases import Clock
from chassis.outbox import say
from contracts.inventory.events import OrphanFound, OrphanGone, OrphanRemoved, OrphanRemoving
from contracts.message import Body, Event, Message
from drivers.base import Driver, Resource
from services.provisioner.backoff import backoff
from services.provisioner.proofs import Gone, end, known_of, look_for
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.tables import Orphan

LOG = logging.getLogger(__name__)
BATCH = 20
LEASE = timedelta(minutes=5)
FIRST_LOOK, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)
"""How soon the cloud is asked again about what it was to remove; the wait doubles each time."""
ROUND_SECONDS = 10.0
_ORPHANS = Orphan.metadata.tables["orphans"]


class Orphans:
    """Hears of orphans and, with `orphans: remove`, removes those that are proven to be Hostler's."""

    def __init__(
        self,
        database: Database,
        drivers: Callable[[str], Driver],
        settings: ProvisionerSettings,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self.database = database
        self.drivers = drivers
        self.settings = settings
        self.clock = clock
        self.random = random

    async def on_inventory(self, session: AsyncSession, batch: Batch) -> None:
        """Keep what was found until it is gone; in the order of the messages."""
        for message, _ in batch:
            match message.data:
                case OrphanFound() as found:
                    await self._keep(session, message, found)
                case OrphanGone() as gone:
                    await self._forget(session, message, gone)
                case _:
                    continue

    async def run(self) -> None:
        """Look for due orphans now and then, until cancelled."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            await self.step()

    async def step(self) -> int:
        """One round; how many that were to be removed are seen to be gone."""
        if self.settings.orphans != "remove":
            return 0
        gone = [await self._remove(orphan) for orphan in await self._claim()]
        return sum(gone)

    async def _keep(
        self, session: AsyncSession, message: Message[Body], found: OrphanFound
    ) -> None:
        """Told again it is what it is told to be now; what is done about it goes on."""
        told = {
            "account": message.account,
            "kind": found.kind,
            "resource_id": found.id,
            "name": found.name,
            "vm_id": found.vm_id,
            "reason": found.reason,
            "proven": found.proven,
            "found_at": found.found_at,
        }
        due = found.found_at + self.settings.orphan_grace if found.proven else None
        row = insert(session, _ORPHANS).values(
            subject=message.subject, **told, due_at=due, attempts=0
        )
        its = _ORPHANS.c.due_at
        due_again = case((_is_under_way(), its), else_=excluded("due_at")["due_at"])
        again = row.on_conflict_do_update(
            index_elements=["subject"], set_={**told, "due_at": due_again}
        )
        await session.execute(again)

    async def _forget(
        self, session: AsyncSession, message: Message[Body], gone: OrphanGone
    ) -> None:
        """Sync sees it no longer: it was removed if that was asked for, by whichever process."""
        its = delete(_ORPHANS).where(_ORPHANS.c.subject == message.subject)
        had = its.returning(_ORPHANS.c.vm_id, _ORPHANS.c.removing_since)
        row = (await session.execute(had)).one_or_none()
        if row is not None and row.removing_since is not None:
            removed = OrphanRemoved(kind=gone.kind, id=gone.id, vm_id=row.vm_id)
            about = message.subject, message.account, message.project_id
            await say(session, _message(*about, removed, self.clock()))

    async def _claim(self) -> Sequence[Orphan]:
        now = self.clock()
        due = select(Orphan).where(Orphan.due_at <= now, Orphan.proven)
        due = due.order_by(Orphan.due_at).limit(BATCH).with_for_update(skip_locked=True)
        async with self.database.session() as session:
            rows = (await session.execute(due)).scalars().all()
            for row in rows:
                row.lease_token, row.due_at = new_id(), now + LEASE
                row.attempts += 1
        return rows

    async def _remove(self, orphan: Orphan) -> bool:
        """Whether it is seen to be gone; else its end was asked for, or that is put off."""
        try:
            driver = self.drivers(orphan.account)
            async with self.database.reading() as session:
                known = await known_of(session, orphan)
            found = None if known is None else await look_for(driver, orphan, known)
            if known is None or found is None:
                LOG.warning("%s is not removed: it is not proven to be nobody's", orphan.subject)
                await self._put_off(orphan, self.settings.orphan_grace)
                return False
            if isinstance(found, Gone):
                return await self._say_removed(orphan, known.mark.project_id)
            asked_at = await self._ask(driver, orphan, found)
        except HostlerError as error:
            LOG.warning("cannot remove %s: %s", orphan.subject, error)
            await self._put_off(orphan, self._pause(orphan), error)
            return False
        if asked_at is not None:
            await self._say_removing(orphan, known.mark.project_id, asked_at)
        return False

    async def _ask(self, driver: Driver, orphan: Orphan, found: Resource) -> datetime | None:
        """Note it, then ask: whoever comes after a kill knows of it. None: it is another's by now."""
        asked_at = self.clock()
        async with self.database.session() as session:
            row = await _held(session, orphan)
            if row is None:
                return None
            row.removing_since = row.removing_since or asked_at
        await end(driver, found, f"req-{new_id()}")
        return asked_at

    def _pause(self, orphan: Orphan) -> timedelta:
        return backoff(orphan.attempts, FIRST_LOOK, LONGEST_WAIT, self.random)

    async def _put_off(
        self, orphan: Orphan, pause: timedelta, error: HostlerError | None = None
    ) -> None:
        """`error`: what asking ended as; only of an uncertain one may an end come."""
        uncertain = isinstance(error, Retry) and error.uncertain
        async with self.database.session() as session:
            row = await _held(session, orphan)
            if row is not None:
                row.lease_token, row.due_at = None, self.clock() + pause
                if not uncertain:
                    row.removing_since = orphan.removing_since

    async def _say_removing(self, orphan: Orphan, project_id: str, asked_at: datetime) -> None:
        """As of before it was asked: whatever tells of its end is later."""
        async with self.database.session() as session:
            row = await _held(session, orphan)
            if row is not None:
                row.lease_token, row.due_at = None, self.clock() + self._pause(row)
                about = row.subject, row.account, project_id
                await say(session, _message(*about, _removing(row), asked_at))

    async def _say_removed(self, orphan: Orphan, project_id: str) -> bool:
        its = {"kind": orphan.kind, "id": orphan.resource_id, "vm_id": orphan.vm_id}
        removed = OrphanRemoved.model_validate(its)
        async with self.database.session() as session:
            row = await _held(session, orphan)
            if row is not None:
                await session.delete(row)
                about = row.subject, row.account, project_id
                await say(session, _message(*about, removed, self.clock()))
        return row is not None


def _is_under_way() -> ColumnElement[bool]:
    """Whether somebody is at it, or the cloud was asked to remove it."""
    return _ORPHANS.c.lease_token.is_not(None) | _ORPHANS.c.removing_since.is_not(None)


async def _held(session: AsyncSession, orphan: Orphan) -> Orphan | None:
    mine = select(Orphan).where(
        Orphan.subject == orphan.subject, Orphan.lease_token == orphan.lease_token
    )
    return (await session.execute(mine.with_for_update())).scalar_one_or_none()


def _removing(row: Orphan) -> OrphanRemoving:
    said: dict[str, Any] = {
        "kind": row.kind,
        "id": row.resource_id,
        "name": row.name,
        "vm_id": row.vm_id,
        "reason": row.reason,
        "proven": row.proven,
        "found_at": row.found_at,
        "since": row.removing_since,
        "attempts": row.attempts,
    }
    return OrphanRemoving.model_validate(said)


def _message(
    subject: str, account: str, project_id: str, event: Event, now: datetime
) -> Message[Body]:
    return Message[Body](
        id=new_id(),
        source="hostler/provisioner",
        time=now,
        subject=subject,
        project_id=project_id,
        account=account,
        actor="hostler/provisioner",
        data=event,
    )
