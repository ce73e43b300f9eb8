"""Orphans: what sync found without an owner, kept in mind, and removed where the operator says so.

Only what carries the mark of a VM that the ledger knows goes, only while that VM is deleted or has
another living server, and only after the cloud was asked once more.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.consumer import Batch
from chassis.database import Database, insert
from chassis.errors import HostlerError
from chassis.ids import new_id
from chassis.leases import Clock
from chassis.outbox import say
from contracts.inventory.events import OrphanFound, OrphanGone, OrphanRemoved
from contracts.message import Body, Message
from contracts.vm.states import PRESENT
from drivers.base import Driver, Inventories, Mark
from services.provisioner.backoff import backoff
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.tables import Made, Operation, Orphan, Server

LOG = logging.getLogger(__name__)
BATCH = 20
LEASE = timedelta(minutes=5)
ROUND_SECONDS = 10.0
_ORPHANS = Orphan.metadata.tables["orphans"]


@dataclass(frozen=True)
class _Known:
    """What is known of an orphan's VM: its mark, what was made for it, and the server it keeps."""

    mark: Mark
    servers: frozenset[str]
    kept: str | None


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
                case OrphanGone() | OrphanRemoved():
                    its = Orphan.subject == message.subject
                    await session.execute(delete(Orphan).where(its))
                case _:
                    continue

    async def run(self) -> None:
        """Look for due orphans now and then, until cancelled."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            await self.step()

    async def step(self) -> int:
        """One round; how many were removed."""
        if self.settings.orphans != "remove":
            return 0
        removed = [await self._remove(orphan) for orphan in await self._claim()]
        return sum(removed)

    async def _keep(
        self, session: AsyncSession, message: Message[Body], found: OrphanFound
    ) -> None:
        values = {
            "account": message.account,
            "kind": found.kind,
            "resource_id": found.id,
            "name": found.name,
            "vm_id": found.vm_id,
            "reason": found.reason,
            "proven": found.proven,
            "found_at": found.found_at,
            "due_at": found.found_at + self.settings.orphan_grace if found.proven else None,
            "lease_token": None,
            "attempts": 0,
        }
        row = insert(session, _ORPHANS).values(subject=message.subject, **values)
        again = row.on_conflict_do_update(index_elements=["subject"], set_=values)
        await session.execute(again)

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
        """Whether it was there, was Hostler's and its end was asked for."""
        try:
            async with self.database.reading() as session:
                known = await _known(session, orphan)
            removed = known is not None and await self._ask(orphan, known)
        except HostlerError as error:
            LOG.warning("cannot remove %s: %s", orphan.subject, error)
            rules = self.settings
            pause = backoff(orphan.attempts, LEASE, rules.orphan_grace, self.random)
            return await self._put_off(orphan, self.clock() + pause)
        if not removed:
            LOG.warning("%s is not removed: it is not proven to be nobody's", orphan.subject)
            return await self._put_off(orphan, self.clock() + self.settings.orphan_grace)
        return await self._say_removed(orphan)

    async def _ask(self, orphan: Orphan, known: _Known) -> bool:
        driver, request_id = self.drivers(orphan.account), f"req-{new_id()}"
        if orphan.kind == "server":
            return await _ask_server(driver, orphan.resource_id, known, request_id)
        return await _ask_resource(driver, orphan, known, request_id)

    async def _put_off(self, orphan: Orphan, until: datetime) -> bool:
        async with self.database.session() as session:
            row = await _held(session, orphan)
            if row is not None:
                row.lease_token, row.due_at = None, until
        return False

    async def _say_removed(self, orphan: Orphan) -> bool:
        removed = OrphanRemoved.model_validate(
            {"kind": orphan.kind, "id": orphan.resource_id, "vm_id": orphan.vm_id}
        )
        message = Message(
            id=new_id(),
            source="hostler/provisioner",
            time=self.clock(),
            subject=orphan.subject,
            account=orphan.account,
            actor="hostler/provisioner",
            data=removed,
        )
        async with self.database.session() as session:
            row = await _held(session, orphan)
            if row is not None:
                await session.delete(row)
                await say(session, message)
        return True


async def _held(session: AsyncSession, orphan: Orphan) -> Orphan | None:
    mine = select(Orphan).where(
        Orphan.subject == orphan.subject, Orphan.lease_token == orphan.lease_token
    )
    return (await session.execute(mine.with_for_update())).scalar_one_or_none()


async def _known(session: AsyncSession, orphan: Orphan) -> _Known | None:
    """None: its VM is not Hostler's to judge, is worked on, or lives without another server."""
    if orphan.vm_id is None or await _is_worked_on(session, orphan.vm_id):
        return None
    made = (await session.execute(select(Made).where(Made.vm_id == orphan.vm_id))).scalars().all()
    server = await session.get(Server, orphan.vm_id)
    if not made or server is None:
        return None
    mark = Mark(orphan.vm_id, made[0].project_id)
    its = frozenset(each.resource_id for each in made if each.resource_id is not None)
    if server.is_deleted:
        return _Known(mark, its, None)
    is_second = orphan.kind == "server" and server.server_id not in {None, orphan.resource_id}
    return _Known(mark, its, server.server_id) if is_second and server.state in PRESENT else None


async def _is_worked_on(session: AsyncSession, vm_id: UUID) -> bool:
    under_way = select(Operation.seq).where(Operation.vm_id == vm_id, Operation.ended_at.is_(None))
    return (await session.execute(under_way.limit(1))).first() is not None


async def _ask_server(driver: Driver, server_id: str, known: _Known, request_id: str) -> bool:
    """Where the VM lives on, only while the server that is its own is in the same answer."""
    looked = await driver.find(known.mark)
    marked = {seen.snapshot.server_id: seen.mark for seen in looked.servers}
    its = marked.get(server_id)
    if its is None or its.vm_id != known.mark.vm_id:
        return False
    if known.kept is not None and known.kept not in marked:
        return False
    await driver.delete(server_id, request_id)
    return True


async def _ask_resource(driver: Driver, orphan: Orphan, known: _Known, request_id: str) -> bool:
    """What is attached to a server that is not the VM's has found an owner of its own."""
    if not isinstance(driver, Inventories):
        return False
    for resource in await driver.belongings(known.mark, None):
        is_it = (resource.kind, resource.id) == (orphan.kind, orphan.resource_id)
        is_marked = resource.mark is not None and resource.mark.vm_id == known.mark.vm_id
        if is_it and is_marked and resource.server_id in {None, *known.servers}:
            await driver.remove(resource, request_id)
            return True
    return False
