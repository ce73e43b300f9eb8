"""Drift: what becomes of a VM's fields that somebody changed behind Hostler's back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.database import insert
from chassis.errors import HostlerError
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.outbox import say
from chassis.telemetry import current_traceparent
from contracts.identity import Role
from contracts.message import Body, Message
from contracts.operation.states import OperationState
from contracts.vm.events import Changed, Difference, DriftChoice, Drifted
from contracts.vm.states import GONE, VM_FIELDS, VmState
from services.gateway.correcting import commands_for, explains, is_correctable, is_late
from services.gateway.intake import Asked, Intake
from services.gateway.tables import DRIFT, DRIFT_CHOICES, DRIFT_CORRECTIONS, OPERATIONS

OTHERS = "*"
ACTOR = "hostler/drift"
WINDOW = timedelta(hours=1)
LATE = timedelta(minutes=10)
"""How long after its end an operation that was given up may still have its effect."""
_UNWANTED = {
    VmState.REQUESTED,
    VmState.BUILDING,
    VmState.UNKNOWN,
    VmState.ERROR,
    *GONE,
}
"""States that nobody asks for: a VM that leaves one by itself does not drift."""

Moved = dict[str, tuple[Any, Any]]
"""Field → as it was and as it is."""


@dataclass(frozen=True)
class _News:
    """A change: `own` is what the command under way explains of it, `outside` what it does not."""

    message: Message[Body]
    changed: Changed
    own: Moved
    outside: Moved

    @property
    def vm_id(self) -> UUID:
        return UUID(self.message.subject)


@dataclass(frozen=True)
class Deviation:
    """A field that is not as it is wanted."""

    field: str
    wanted: Any
    found: Any
    choice: DriftChoice
    since: datetime
    operation_id: UUID | None = None

    @property
    def told(self) -> Difference:
        """The same as it stands in `vm.drifted.v1`."""
        return Difference(wanted=self.wanted, found=self.found, choice=self.choice)


class Drift:
    """Notices drift and does what is chosen for it; `default` where nobody chose.

    A field is corrected by itself `per_hour` times at most: after that somebody else means it.
    """

    def __init__(self, intake: Intake, default: DriftChoice, per_hour: int) -> None:
        self.intake = intake
        self.default: DriftChoice = default
        self.per_hour = per_hour

    async def notice_many(
        self, session: AsyncSession, news: Sequence[tuple[Message[Body], Changed]], now: datetime
    ) -> None:
        """See what a batch's changes mean: those that are new, in order, in their transaction.

        The VMs' rows are what sync saw by then; what is accepted here writes them again. Hostler's
        own changes cost two queries for the batch, but for VMs that drift.
        """
        moves = [(*each, moved) for each in news if (moved := _moved(each[1]))]
        if not moves:
            return
        commands = await _commands(session, moves)
        drifting = await _drifting(session, {UUID(message.subject) for message, _, _ in moves})
        for message, changed, moved in moves:
            its = _parted(message, changed, moved, commands.get(message.operation_id))
            if its.outside or its.vm_id in drifting:
                drifting.add(its.vm_id)
                await self._notice(session, its, now)

    async def _notice(self, session: AsyncSession, news: _News, now: datetime) -> None:
        rows = {row.field: row for row in await open_drift(session, news.vm_id)}
        late = await _late(session, news, rows) if news.outside else set[str]()
        await close(session, news.vm_id, [field for field in late if field in rows])
        await self._follow(session, news, rows)
        outside = {field: pair for field, pair in news.outside.items() if field not in late}
        if outside:
            by_others = replace(news, message=_by_others(news.message), outside=outside)
            await self._judge(session, by_others, rows, now)
        if (news.own | outside).get("state", (None, None))[1] == VmState.DELETED.value:
            of_the_rest = (DRIFT.c.vm_id == news.vm_id) & (DRIFT.c.field != "state")
            await session.execute(delete(DRIFT).where(of_the_rest))

    async def _judge(
        self, session: AsyncSession, news: _News, rows: Mapping[str, Row[Any]], now: datetime
    ) -> None:
        """What others moved; `rows`: the fields that drifted before."""
        message, changed, vm_id = news.message, news.changed, news.vm_id
        choices = await standing(session, vm_id)
        found: list[Deviation] = []
        over: list[str] = []
        for field, (old, new) in news.outside.items():
            row = rows.get(field)
            wanted, since = (row.wanted, row.since) if row else (old, now)
            drifts = _drifts(field, wanted, new)
            choice = choices.get(field, choices.get(OTHERS, self.default))
            if drifts and choice != "ignore":
                found.append(Deviation(field, wanted, new, choice, since))
            if not drifts or choice in {"ignore", "accept"}:
                over.append(field)
        found = await self._correct(session, message, found, changed.version, now)
        await close(session, vm_id, over)
        for each in found:
            if each.choice != "accept":
                await _keep(session, message, each, changed.version)
        if found:
            await say(session, _drifted(message, changed, found, now))

    async def _follow(
        self, session: AsyncSession, news: _News, rows: Mapping[str, Row[Any]]
    ) -> None:
        """What Hostler's own commands leave is wanted; what a correction leaves is only found."""
        over: list[str] = []
        for field, row in rows.items():
            if field not in news.own:
                continue
            new = news.own[field][1]
            if same(row.wanted, new) or row.operation_id != news.message.operation_id:
                over.append(field)
            else:
                mine = (DRIFT.c.vm_id == news.vm_id) & (DRIFT.c.field == field)
                seen = {"found": new, "version": news.changed.version}
                await session.execute(update(DRIFT).where(mine).values(seen))
        await close(session, news.vm_id, over)

    async def _correct(
        self,
        session: AsyncSession,
        message: Message[Body],
        found: list[Deviation],
        version: int,
        now: datetime,
    ) -> list[Deviation]:
        """Ask for what is to be corrected; what cannot be is told only."""
        vm_id = UUID(message.subject)
        wanted: dict[str, tuple[Any, Any]] = {}
        for each in found:
            if (
                each.choice == "correct"
                and is_correctable(each.field, each.wanted, each.found)
                and await self._may(session, vm_id, each.field, now)
            ):
                wanted[each.field] = (each.wanted, each.found)
        asked: dict[str, UUID] = {}
        for fields, command in commands_for(wanted):
            caller = Caller(ACTOR, message.project_id, Role.OPERATOR)
            one = Asked(caller, command, vm_id, message.request_id, ACTOR)
            try:
                async with session.begin_nested():
                    accepted = await self.intake.accept(session, one)
            except HostlerError:
                continue
            asked |= dict.fromkeys(fields, accepted.operation_id)
            await _count(session, message, fields, version, now)
        return [_decided(each, asked.get(each.field)) for each in found]

    async def _may(self, session: AsyncSession, vm_id: UUID, field: str, now: datetime) -> bool:
        own = (DRIFT_CORRECTIONS.c.vm_id == vm_id) & (DRIFT_CORRECTIONS.c.field == field)
        old = DRIFT_CORRECTIONS.c.at <= now - WINDOW
        await session.execute(delete(DRIFT_CORRECTIONS).where(own, old))
        done = await session.scalar(select(func.count()).select_from(DRIFT_CORRECTIONS).where(own))
        return (done or 0) < self.per_hour


def same(wanted: Any, found: Any) -> bool:
    """Whether two values of a field mean the same: no description is an empty one."""
    return (wanted or None) == (found or None)


async def open_drift(session: AsyncSession, vm_id: UUID) -> list[Row[Any]]:
    """The fields of a VM that drift, by name."""
    query = select(DRIFT).where(DRIFT.c.vm_id == vm_id).order_by(DRIFT.c.field)
    return list((await session.execute(query)).all())


async def standing(session: AsyncSession, vm_id: UUID) -> dict[str, DriftChoice]:
    """What was chosen for a VM, per field."""
    query = select(DRIFT_CHOICES).where(DRIFT_CHOICES.c.vm_id == vm_id)
    rows = (await session.execute(query.order_by(DRIFT_CHOICES.c.field))).all()
    return {row.field: row.choice for row in rows}


async def close(session: AsyncSession, vm_id: UUID, fields: list[str]) -> None:
    """These fields of a VM are as they are wanted now."""
    if fields:
        over = (DRIFT.c.vm_id == vm_id) & DRIFT.c.field.in_(fields)
        await session.execute(delete(DRIFT).where(over))


def _moved(changed: Changed) -> Moved:
    """Field → as it was and as it is. Of a VM that was not known nothing has moved.

    A server that is gone has no addresses; that it has them again with its return is no drift.
    """
    moved = {f: (changed.old[f], changed.new[f]) for f in VM_FIELDS if f in changed.old}
    if set(moved.get("state", ())) & set(GONE):
        moved.pop("addresses", None)
    return moved


def _parted(message: Message[Body], changed: Changed, moved: Moved, command: str | None) -> _News:
    """Nothing is Hostler's own where no command was under way."""
    is_own = changed.origin == "hostler"
    own = {f: pair for f, pair in moved.items() if is_own and explains(command, f, pair[1])}
    return _News(message, changed, own, {f: p for f, p in moved.items() if f not in own})


def _by_others(message: Message[Body]) -> Message[Body]:
    """The message without the operation that was under way, for it is not that one's doing."""
    if message.operation_id is None:
        return message
    return message.model_copy(update={"actor": "cloud", "operation_id": None, "request_id": ""})


async def _commands(
    session: AsyncSession, news: Sequence[tuple[Message[Body], Changed, Moved]]
) -> dict[UUID | None, str]:
    """The commands of the operations that were under way, by their ids."""
    ids = {message.operation_id for message, changed, _ in news if changed.origin == "hostler"}
    ids.discard(None)
    if not ids:
        return {}
    query = select(OPERATIONS.c.id, OPERATIONS.c.command).where(among(OPERATIONS.c.id, ids))
    return {row.id: row.command for row in (await session.execute(query)).all()}


async def _drifting(session: AsyncSession, ids: set[UUID]) -> set[UUID]:
    query = select(DRIFT.c.vm_id).where(among(DRIFT.c.vm_id, ids)).distinct()
    return set(await session.scalars(query))


async def _late(session: AsyncSession, news: _News, rows: Mapping[str, Row[Any]]) -> set[str]:
    """The fields that an operation moved which was given up before: they are as Hostler meant.

    One that succeeded is none of these: sync had seen its effect by then. Nor is a correction: what
    it may still do is told by the value that is wanted.
    """
    theirs = (
        OPERATIONS.c.vm_id == news.vm_id,
        OPERATIONS.c.state == OperationState.FAILED.value,
        OPERATIONS.c.ended_at >= news.message.time - LATE,
    )
    ended = (await session.execute(select(OPERATIONS).where(*theirs))).all()
    corrects = {field: row.operation_id for field, row in rows.items()}
    return {
        field
        for field, (_, new) in news.outside.items()
        for each in ended
        if is_late(each, field, new) and each.id != corrects.get(field)
    }


def _drifts(field: str, wanted: Any, found: Any) -> bool:
    return not same(wanted, found) and not (field == "state" and wanted in _UNWANTED)


def _decided(found: Deviation, operation_id: UUID | None) -> Deviation:
    if found.choice != "correct":
        return found
    if operation_id is None:
        return replace(found, choice="report")
    return replace(found, operation_id=operation_id)


async def _keep(
    session: AsyncSession, message: Message[Body], found: Deviation, version: int
) -> None:
    said = {
        "found": found.found,
        "choice": found.choice,
        "version": version,
        "operation_id": found.operation_id,
    }
    row = insert(session, DRIFT).values(
        vm_id=UUID(message.subject),
        field=found.field,
        id=new_id(),
        project_id=message.project_id,
        wanted=found.wanted,
        since=found.since,
        **said,
    )
    keys = ["vm_id", "field"]
    await session.execute(row.on_conflict_do_update(index_elements=keys, set_=said))


async def _count(
    session: AsyncSession, message: Message[Body], fields: list[str], version: int, now: datetime
) -> None:
    shared = {"vm_id": UUID(message.subject), "project_id": message.project_id}
    rows = [shared | {"field": field, "version": version, "at": now} for field in fields]
    await session.execute(DRIFT_CORRECTIONS.insert(), rows)


def _drifted(
    message: Message[Body], changed: Changed, found: list[Deviation], now: datetime
) -> Message[Body]:
    return Message[Body](
        id=new_id(),
        source="hostler/gateway",
        time=now,
        subject=message.subject,
        project_id=message.project_id,
        account=message.account,
        actor=message.actor,
        request_id=message.request_id,
        traceparent=current_traceparent() or message.traceparent,
        data=Drifted(
            version=changed.version,
            observed_at=changed.observed_at,
            fields={each.field: each.told for each in found},
        ),
    )
