"""Looks at single servers: where a sweep cannot answer, or did not show what it should have."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.errors import HostlerError, Retry
from chassis.leases import NamedLease
from chassis.outbox import say
from chassis.telemetry import bound
from contracts.message import Body, Message
from contracts.vm.states import GONE, VmSnapshot, VmState
from drivers.base import Driver, Looked, Mark, Seen
from services.sync import metrics, watches
from services.sync.drift import canonical, choose, ended
from services.sync.holding import guarded
from services.sync.saying import Cause, Clock, change, known, observed
from services.sync.settings import SyncSettings
from services.sync.tables import Vm, Watch

LOG = logging.getLogger(__name__)
_SAME_SECOND = timedelta(seconds=1)


class Looker:
    """Looks at the servers of one account that are due, a few per round."""

    def __init__(
        self,
        account: str,
        driver: Callable[[], Driver],
        lease: NamedLease,
        settings: SyncSettings,
        clock: Clock,
    ) -> None:
        self.account = account
        self.driver = driver
        self.lease = lease
        self.limit = settings.looks_per_round
        self.patience = timedelta(seconds=settings.look_after_seconds)
        self.clock = clock

    async def look_due(self) -> None:
        """One round of looks. One that fails is due again later and stops no other."""
        due = await self._due()
        answers = await asyncio.gather(*(self._ask(row) for row in due))
        for row, answer in zip(due, answers, strict=True):
            async with guarded(self.lease) as session:
                if isinstance(answer, Looked):
                    await self._take(session, row.vm_id, answer)
                else:
                    await self._postpone(session, row.vm_id, answer)

    async def _due(self) -> Sequence[Vm]:
        now = self.clock()
        waited_for = select(Watch.vm_id).where(
            Watch.account == self.account, Watch.state == watches.ISSUED, Watch.look_due_at <= now
        )
        unseen = select(Vm.vm_id).where(Vm.account == self.account, Vm.look_due_at <= now)
        async with self.lease.database.reading() as session:
            ids = list(
                await session.scalars(waited_for.order_by(Watch.look_due_at).limit(self.limit))
            )
            ids += await session.scalars(unseen.order_by(Vm.look_due_at).limit(self.limit))
            chosen = list(dict.fromkeys(ids))[: self.limit]
            return (await session.scalars(select(Vm).where(Vm.vm_id.in_(chosen)))).all()

    async def _ask(self, row: Vm) -> Looked | HostlerError:
        with bound(vm_id=row.vm_id):
            try:
                if row.server_id is None:
                    return await self.driver().find(Mark(row.vm_id, row.project_id))
                return await self.driver().look(row.server_id)
            except HostlerError as error:
                LOG.warning("cannot look at %s: %s", row.server_id or row.vm_id, error)
                return error

    async def _postpone(self, session: AsyncSession, vm_id: UUID, error: HostlerError) -> None:
        metrics.LOOKS.labels(self.account, "failed").inc()
        after = error.after if isinstance(error, Retry) else None
        later = self.clock() + max(after or self.patience, self.patience)
        for table in (Vm, Watch):
            mine = table.vm_id == vm_id, table.look_due_at.is_not(None)
            await session.execute(update(table).where(*mine).values(look_due_at=later))

    async def _take(self, session: AsyncSession, vm_id: UUID, looked: Looked) -> None:
        metrics.LOOKS.labels(self.account, "found" if looked.servers else "none").inc()
        row = await session.get_one(Vm, vm_id, with_for_update=True)
        watched = (await watches.of_vms(session, [vm_id])).get(vm_id, [])
        issued = [watch for watch in watched if watch.state == watches.ISSUED]
        said = self._changes(row, looked, watched, issued)
        for watch in issued:
            said += observed(row, watch, looked.clock, self.clock)
            watch.look_due_at = self._again(watch, looked.clock)
        row.look_due_at = None
        if said:
            await say(session, *said)

    def _changes(
        self, row: Vm, looked: Looked, watched: list[Watch], issued: list[Watch]
    ) -> list[Message[Body]]:
        if row.observed_at is not None and looked.clock < row.observed_at:
            return []
        deleting = any(watch.command == watches.DELETE for watch in issued)
        snapshot = _shown(row, looked.servers) or _without_server(row, deleting=deleting)
        if snapshot is None:
            return []
        cause = Cause.of(watched[-1] if watched else None)
        return change(row, snapshot, looked.clock, cause, self.clock)

    def _again(self, watch: Watch, at: datetime) -> datetime:
        """Soon, where the answer is of the second of the call and may be of before it."""
        ambiguous = watch.called_at is not None and at <= watch.called_at
        return self.clock() + (_SAME_SECOND if ambiguous else self.patience)


def _shown(row: Vm, servers: Sequence[Seen]) -> VmSnapshot | None:
    chosen, _surplus = choose(row.server_id, VmState(row.state), servers)
    return canonical(chosen.snapshot) if chosen else None


def _without_server(row: Vm, *, deleting: bool) -> VmSnapshot | None:
    """What a VM is of which the cloud says that there is no server; None: what it was.

    A VM that is being made, or whose create failed, has none yet and is not missing.
    """
    state = VmState(row.state)
    if deleting and state is not VmState.DELETED:
        return ended(known(row), row.server_id, VmState.DELETED)
    if state in GONE or (row.server_id is None and state is not VmState.UNKNOWN):
        return None
    return ended(known(row), row.server_id, VmState.MISSING)
