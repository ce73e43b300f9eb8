"""A read model that was told anew, merged into the one that serves, row by row, while it serves.

Each VM under its row's lock, as the projection has it: what the live tables know that is newer
stays, as does what only they have; the rest is set, and what is missing is made.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.database import Database, changed, insert
from chassis.leases import Clock
from services.gateway.progress import Held
from services.gateway.retelling import Retold
from services.gateway.tables import CATALOG, OPERATIONS, VM_TAGS, VMS, columns

AT_ONCE = 100
_OWN = {"id", "revision", "updated_at", "created_at", "observed_at", "owner"}
_TURN = {"operation_id", "operation_command", "operations"}
_SEEN = frozenset(VMS.c.keys()) - _OWN - _TURN
_PROGRESS = ("state", "attempts", "error", "blocked_on", "started_at", "ended_at", "stuck_at")
Values = dict[str, Any]


class _DryRun(Exception):
    """Nothing is written."""


def _stop_if(dry: bool) -> None:
    if dry:
        raise _DryRun


class Merge:
    """Merges what was told anew; counts what was `made` and `set`, by table."""

    def __init__(self, database: Database, clock: Clock, told: Retold) -> None:
        self.database = database
        self.clock = clock
        self.told = told
        self.counts: Counter[str] = Counter()
        self._operations: dict[UUID, list[Held]] = {}
        for each in told.operations.values():
            self._operations.setdefault(each.row.vm_id, []).append(each)

    async def run(self, *, dry: bool = False) -> Counter[str]:
        """All VMs, some in each transaction: killed in between, it can be run again."""
        self.counts += self.told.stock.counts()
        if not dry:
            await self.told.stock.keep(self.database)
        ids = sorted(self.told.vms)
        for start in range(0, len(ids), AT_ONCE):
            try:
                async with self.database.session() as session:
                    await self._some(session, ids[start : start + AT_ONCE])
                    _stop_if(dry)
            except _DryRun:
                continue
        return self.counts

    async def _some(self, session: AsyncSession, ids: Sequence[UUID]) -> None:
        made = await self._make_vms(session, ids)
        query = select(VMS).where(among(VMS.c.id, ids)).order_by(VMS.c.id).with_for_update()
        live = {row.id: row for row in (await session.execute(query)).all()}
        changes: dict[UUID, Values] = {
            each: self._vm_changes(live[each]) for each in ids if each not in made
        }
        retagged = {*made, *(each for each, values in changes.items() if "tags" in values)}
        await self._make_operations(session, ids)
        turns = await _turns(session, ids)
        for each in ids:
            turn = _differing(live[each], self._turn(live[each], turns.get(each, [])))
            await self._set_vm(session, live[each], changes.get(each, {}) | turn, each in made)
            if not (live[each].owner or self.told.vms[each].row.owner):
                self.counts["vms without an owner"] += 1
        await session.execute(delete(VM_TAGS).where(among(VM_TAGS.c.vm_id, retagged)))
        if rows := self.told.tags(sorted(retagged)):
            await session.execute(VM_TAGS.insert(), rows)

    async def _make_vms(self, session: AsyncSession, ids: Sequence[UUID]) -> set[UUID]:
        known = set((await session.execute(select(VMS.c.id).where(among(VMS.c.id, ids)))).scalars())
        made: set[UUID] = set()
        for each in ids:
            if each not in known:
                values = vars(self.told.vms[each].row)
                if each in self.told.made and values["version"] == 0:
                    values = values | {"flavor": await _flavor(session, values)}
                row = insert(session, VMS).values(values).on_conflict_do_nothing()
                if await changed(session, row):
                    made.add(each)
        self.counts["vms made"] += len(made)
        return made

    def _vm_changes(self, live: Row[Any]) -> Values:
        """What of a live row is to be set: nothing if it is newer."""
        told = self.told.vms[live.id].row
        owner = {"owner": told.owner} if told.owner and not live.owner else {}
        if live.version > told.version:
            return owner
        # What a VM is to be that was never seen stands in its create, but for the flavor's name.
        names = _SEEN if told.version else _SEEN - {"flavor"}
        if live.id in self.told.made:
            names = names | {"created_at"}
        elif not told.version:
            names = {"version"}
        values = _differing(live, {name: getattr(told, name) for name in names})
        if told.observed_at and (values or not live.observed_at):
            values["observed_at"] = told.observed_at
        return values | owner

    def _turn(self, live: Row[Any], turns: Sequence[Row[Any]]) -> Values:
        waiting = [each for each in turns if each.ended_at is None]
        first = waiting[0] if waiting else None
        return {
            "operation_id": first.id if first else None,
            "operation_command": first.command if first else None,
            "operations": max([live.operations, *(each.seq for each in turns)]),
        }

    async def _set_vm(
        self, session: AsyncSession, live: Row[Any], values: Values, made: bool
    ) -> None:
        """Set columns; what callers see moves, and its ETag with it."""
        if not values:
            return
        told = self.told.vms[live.id].row
        if not made:
            self.counts["vms set"] += 1
            values = values | {
                "revision": max(live.revision, told.revision) + 1,
                "updated_at": self.clock(),
            }
        await session.execute(update(VMS).where(VMS.c.id == live.id).values(values))

    async def _make_operations(self, session: AsyncSession, ids: Sequence[UUID]) -> None:
        told = [held for each in ids for held in self._operations.get(each, [])]
        known = select(OPERATIONS).where(among(OPERATIONS.c.id, [held.row.id for held in told]))
        live = {row.id: row for row in (await session.execute(known)).all()}
        missing = [vars(held.row) for held in told if held.row.id not in live]
        if missing:
            await session.execute(OPERATIONS.insert(), missing)
        self.counts["operations made"] += len(missing)
        for held in told:
            if held.row.id in live:
                await self._set_operation(session, live[held.row.id], held.row)

    async def _set_operation(
        self, session: AsyncSession, live: Row[Any], told: SimpleNamespace
    ) -> None:
        """Of an operation whose command is not known any more only its progress is told."""
        if _last_step(live.steps) > _last_step(told.steps):
            return
        names = OPERATIONS.c.keys() if live.id in self.told.asked else _PROGRESS
        values = _differing(live, {name: getattr(told, name) for name in names if name != "seq"})
        if values:
            self.counts["operations set"] += 1
            mine = OPERATIONS.c.id == live.id
            await session.execute(update(OPERATIONS).where(mine).values(values))


def _last_step(steps: Sequence[Mapping[str, Any]]) -> datetime:
    """When an operation last moved; at the beginning of time if it never did."""
    at = [datetime.fromisoformat(str(step["at"])) for step in steps[-1:]]
    return at[0] if at else datetime.fromisoformat("0001-01-01T00:00:00+00:00")


def _differing(live: Row[Any], wanted: Values) -> Values:
    there = columns(live)
    return {name: value for name, value in wanted.items() if there[name] != value}


async def _turns(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, list[Row[Any]]]:
    query = select(OPERATIONS).where(among(OPERATIONS.c.vm_id, ids)).order_by(OPERATIONS.c.seq)
    found: dict[UUID, list[Row[Any]]] = {}
    for row in (await session.execute(query)).all():
        found.setdefault(row.vm_id, []).append(row)
    return found


async def _flavor(session: AsyncSession, vm: Mapping[str, Any]) -> str:
    """A flavor's name, by which VMs show it; its id if the catalog does not hold it."""
    here = (CATALOG.c.account == vm["account"]) & (CATALOG.c.kind == "flavor")
    query = select(func.max(CATALOG.c.name)).where(here, CATALOG.c.id == vm["flavor"])
    return await session.scalar(query) or str(vm["flavor"])
