"""Looks at single servers: where a sweep cannot answer, or did not show what it should have."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.errors import HostlerError, Retry
from chassis.outbox import say
from chassis.telemetry import bound
from contracts.message import Body, Message
from contracts.vm.states import VmSnapshot, VmState
from drivers.base import Looked, Mark, Seen
from services.sync import metrics, watches
from services.sync.drift import choose, ended, pictured, unmade
from services.sync.holding import guarded
from services.sync.recording import keep_track
from services.sync.saying import Cause, change, known, observed
from services.sync.tables import Vm, Watch
from services.sync.watching import Watching

LOG = logging.getLogger(__name__)
_SAME_SECOND = timedelta(seconds=1)


class Looker:
    """Looks at the servers of one account that are due, a few per round."""

    def __init__(self, watching: Watching) -> None:
        self.watching = watching
        self.account = watching.account
        self.lease = watching.lease
        self.clock = watching.clock
        self.limit = watching.settings.looks_per_round
        self.patience = timedelta(seconds=watching.settings.look_after_seconds)

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
            return (await session.scalars(select(Vm).where(among(Vm.vm_id, chosen)))).all()

    async def _ask(self, row: Vm) -> Looked | HostlerError:
        with bound(vm_id=row.vm_id):
            try:
                if row.server_id is None:
                    return await self.watching.driver().find(Mark(row.vm_id, row.project_id))
                return await self.watching.driver().look(row.server_id)
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
        had = {row.vm_id: row.server_id}
        watched = (await watches.of_vms(session, [vm_id])).get(vm_id, [])
        issued = [watch for watch in watched if watch.state == watches.ISSUED]
        said = self._changes(row, looked, watched, issued)
        for watch in issued:
            said += observed(row, watch, looked.clock, self.clock)
            watch.look_due_at = self._again(watch, looked.clock)
        row.look_due_at = None
        if said:
            await say(session, *said)
        await keep_track(session, [row], had, self.clock)

    def _changes(
        self, row: Vm, looked: Looked, watched: list[Watch], issued: list[Watch]
    ) -> list[Message[Body]]:
        if row.observed_at is not None and looked.clock < row.observed_at:
            return []
        shown = _shown(row, looked.servers, creating=watches.creating(watched))
        snapshot = shown or _without_server(row, watched)
        if snapshot is None:
            return []
        cause = Cause.of(watched[-1] if watched else None)
        return change(row, snapshot, looked.clock, cause, self.clock)

    def _again(self, watch: Watch, at: datetime) -> datetime:
        """Soon, where the answer is of the second of the call and may be of before it."""
        ambiguous = watch.called_at is not None and at <= watch.called_at
        return self.clock() + (_SAME_SECOND if ambiguous else self.patience)


def _shown(row: Vm, servers: Sequence[Seen], *, creating: bool) -> VmSnapshot | None:
    chosen, _surplus = choose(row.server_id, VmState(row.state), servers, creating=creating)
    return pictured(known(row), chosen.snapshot, creating=creating) if chosen else None


def _without_server(row: Vm, watched: Sequence[Watch]) -> VmSnapshot | None:
    """What a VM is of which the cloud says that there is no server; None: what it was.

    A VM that is being made or taken in, or whose create failed, has none yet and is not missing.
    """
    state, has_server = VmState(row.state), row.server_id is not None
    under_way = {watch.command for watch in watched}
    issued = {watch.command for watch in watched if watch.state == watches.ISSUED}
    if state is VmState.DELETED:
        return None
    if watches.DELETE in issued:
        return ended(known(row), row.server_id, VmState.DELETED)
    if watches.CREATE in under_way:
        return unmade(known(row)) if has_server else None
    expected = state is VmState.UNKNOWN and watches.IMPORT not in under_way
    if state is VmState.MISSING or not (has_server or expected):
        return None
    return ended(known(row), row.server_id, VmState.MISSING)
