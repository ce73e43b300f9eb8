"""Intents without an outcome: a command that nothing is heard of in time is told as `timeout`.

The ledger is read as it grows, each chain from where it was read before; what is open stands in a
table of its own, which follows from the ledger. A command is overdue at its deadline, or when audit
heard of it if that is later, and the grace. Its timeout is a row of the chain `audit.timeouts/0`, with an id that
follows from the operation's, so that it is there once whoever tells it. An end that comes later is
a row as always: nothing is written over.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from prometheus_client import Counter
from sqlalchemy import RowMapping, delete, func, null, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.database import Database, excluded, insert
from chassis.leases import Clock, NamedLease
from chassis.wire import Record
from contracts.message import Command
from contracts.operation.events import Retrying
from contracts.topics import VM_COMMANDS, VM_EVENTS
from services.audit.ledger import append, written
from services.audit.outcomes import ENDS, STEERS, TIMEOUT
from services.audit.reading import Heard
from services.audit.tables import FOLLOWED, HEADS, INTENTS, LEDGER

LOG = logging.getLogger(__name__)
TIMEOUTS = Counter("hostler_audit_timeouts", "Commands without an outcome in time.")
SOURCE = "hostler/audit"
TOPIC = "audit.timeouts"
EVERY_SECONDS = 5.0
LEASE_TTL = timedelta(seconds=30)
PAGE = 1000
AT_ONCE = 100
KEPT = timedelta(days=30)
"""How long what has ended, or was told, is known: far longer than Kafka can repeat it."""
_STREAMS = tuple(f"{topic.name}/" for topic in (VM_COMMANDS, VM_EVENTS))
_DEADLINES = {
    each.wire_name(): each.deadline for each in VM_COMMANDS.carries if issubclass(each, Command)
}
_RETRYING = Retrying.wire_name()
_TOLD = (*_DEADLINES, *ENDS, _RETRYING)


@dataclass(frozen=True)
class Intents:
    """Those of one ledger. Every replica may watch them; the lease lets one work at a time."""

    database: Database
    clock: Clock
    lease: NamedLease
    grace: timedelta

    async def watch(self) -> None:
        """Follow the ledger and tell what is overdue, for ever."""
        try:
            while True:
                if await self.lease.hold():
                    await self.look()
                await asyncio.sleep(EVERY_SECONDS)
        finally:
            await self.lease.release()

    async def look(self) -> int:
        """Follow all chains to their ends, then tell what is overdue; how many those were."""
        for chain in await self._chains():
            while await self._follow(chain):
                await self.lease.hold()
        told = 0
        while some := await self._tell():
            told += some
        await self._forget()
        return told

    async def _chains(self) -> Sequence[str]:
        """Those that have grown; commands' first: their deadlines are known when one is moved."""
        seen = func.coalesce(FOLLOWED.c.position, 0)
        both = HEADS.outerjoin(FOLLOWED, FOLLOWED.c.chain == HEADS.c.chain)
        grown = select(HEADS.c.chain).select_from(both).where(HEADS.c.position > seen)
        async with self.database.reading() as session:
            chains = (await session.execute(grown)).scalars()
            return sorted(each for each in chains if each.startswith(_STREAMS))

    async def _follow(self, chain: str) -> bool:
        """Read what has come, a page at most; whether there is more. One reader at a time."""
        async with self.database.session() as session:
            begin = insert(session, FOLLOWED).values(chain=chain, position=0)
            await session.execute(begin.on_conflict_do_nothing())
            mine = FOLLOWED.c.chain == chain
            place = select(FOLLOWED.c.position).where(mine).with_for_update()
            position = await session.scalar(place) or 0
            head = select(HEADS.c.position).where(HEADS.c.chain == chain)
            end = min(await session.scalar(head) or 0, position + PAGE)
            if end == position:
                return False
            here = (LEDGER.c.position > position) & (LEDGER.c.position <= end)
            rows = select(LEDGER).where(LEDGER.c.chain == chain, here, LEDGER.c.type.in_(_TOLD))
            ordered = await session.execute(rows.order_by(LEDGER.c.position))
            await self._note(session, ordered.mappings().all())
            await session.execute(update(FOLLOWED).where(mine).values(position=end))
            return True

    async def _note(self, session: AsyncSession, rows: Sequence[RowMapping]) -> None:
        """A page, in a few statements: what was asked, then what was put off, then what ended."""
        now = self.clock()
        asked: list[dict[str, Any]] = []
        ended: list[dict[str, Any]] = []
        moved: list[RowMapping] = []
        for row in rows:
            if row["operation_id"] is None:
                continue
            if row["type"] in ENDS:
                ended.append(_known(row, now) | {"ended_at": row["time"]})
            elif row["type"] in STEERS or row["type"] == _RETRYING:
                moved.append(row)
            else:
                asked.append(_known(row, now) | {"asked_at": row["time"], "due_at": self._due(row)})
        new = insert(session, INTENTS)
        if asked:
            await session.execute(new.on_conflict_do_nothing(), asked)
        for row in moved:
            await self._put_off(session, row)
        if ended:
            over = new.on_conflict_do_update(index_elements=["operation_id"], set_=_OVER)
            await session.execute(over, ended)

    async def _put_off(self, session: AsyncSession, row: RowMapping) -> None:
        due = self._due(row)
        mine = INTENTS.c.operation_id == row["operation_id"]
        later = update(INTENTS).where(mine & (INTENTS.c.due_at < due)).values(due_at=due)
        await session.execute(later)

    def _due(self, row: RowMapping) -> datetime:
        deadline: datetime = row["time"] + _DEADLINES.get(row["type"], timedelta())
        if row["type"] == _RETRYING and (moved := json.loads(row["data"]).get("deadline_at")):
            deadline = max(deadline, datetime.fromisoformat(moved))
        return max(deadline, row["recorded_at"]) + self.grace

    async def _tell(self) -> int:
        """Tell some of what is overdue, with the mark that it is told, or neither."""
        now = self.clock()
        async with self.database.session() as session:
            due = select(INTENTS).where(INTENTS.c.due_at <= now).order_by(INTENTS.c.due_at)
            locked = due.limit(AT_ONCE).with_for_update(skip_locked=True)
            rows = (await session.execute(locked)).mappings().all()
            if not rows:
                return 0
            await append(session, [(_timeout(row, now), _RECORD) for row in rows], now)
            told = among(INTENTS.c.operation_id, [row["operation_id"] for row in rows])
            await session.execute(update(INTENTS).where(told).values(due_at=None))
        for row in rows:
            LOG.warning("no outcome of %s in time", row["command"], extra=_ids(row))
        TIMEOUTS.inc(len(rows))
        return len(rows)

    async def _forget(self) -> None:
        old = INTENTS.c.due_at.is_(None) & (INTENTS.c.noted_at < self.clock() - KEPT)
        async with self.database.session() as session:
            await session.execute(delete(INTENTS).where(old))


_RECORD = Record(TOPIC, "", {}, b"")
_OVER: dict[str, Any] = {**excluded("ended_at"), "due_at": null()}


def _known(row: RowMapping, now: datetime) -> dict[str, Any]:
    names = ("operation_id", "project_id", "account", "actor", "request_id", "subject")
    return {**{name: row[name] for name in names}, "command": row["type"], "noted_at": now}


def _ids(row: RowMapping) -> dict[str, str]:
    return {"operation_id": str(row["operation_id"]), "vm_id": row["subject"]}


def _timeout(row: RowMapping, now: datetime) -> Heard:
    operation: UUID = row["operation_id"]
    asked, due = written(row["asked_at"]), written(row["due_at"])
    said = {"asked_at": asked, "asked_by": row["actor"], "command": row["command"], "due_at": due}
    return Heard(
        message_id=str(uuid5(operation, TIMEOUT)),
        type=TIMEOUT,
        time=now,
        source=SOURCE,
        subject=row["subject"],
        project_id=row["project_id"],
        account=row["account"],
        actor=SOURCE,
        operation_id=str(operation),
        request_id=row["request_id"],
        traceparent="",
        data=json.dumps(said, sort_keys=True, separators=(",", ":")),
    )
