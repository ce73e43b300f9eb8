"""Drift: what becomes of a VM's fields that somebody changed behind Hostler's back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, get_args
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
from contracts.vm.events import Changed, Difference, DriftChoice, Drifted
from contracts.vm.states import GONE, VmState
from services.gateway.correcting import commands_for, concerned, is_correctable
from services.gateway.intake import Asked, Intake
from services.gateway.tables import DRIFT, DRIFT_CHOICES, DRIFT_CORRECTIONS, OPERATIONS

Field = Literal[
    "name", "description", "metadata", "tags", "state", "flavor", "security_groups", "addresses"
]
FIELDS: tuple[str, ...] = get_args(Field)
OTHERS = "*"
ACTOR = "hostler/drift"
WINDOW = timedelta(hours=1)
_UNWANTED = {
    VmState.REQUESTED,
    VmState.BUILDING,
    VmState.UNKNOWN,
    VmState.ERROR,
    *GONE,
}
"""States that nobody asks for: a VM that leaves one by itself does not drift."""


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
        """`notice` for a batch's changes, in order: both Hostler's own and those of others.

        Hostler's own matter only to VMs that drift: all others cost one query for the batch.
        """
        ids = {UUID(message.subject) for message, _ in news}
        query = select(DRIFT.c.vm_id).where(among(DRIFT.c.vm_id, ids)).distinct()
        drifting = set(await session.scalars(query)) if ids else set[UUID]()
        for message, changed in news:
            if changed.origin == "external":
                drifting.add(UUID(message.subject))
            if UUID(message.subject) in drifting:
                await self.notice(session, message, changed, now)

    async def notice(
        self, session: AsyncSession, message: Message[Body], changed: Changed, now: datetime
    ) -> None:
        """See what a change means: call it for each one that is new, in order, in its transaction.

        The VM's row is what sync saw by then; what is accepted here writes it again.
        """
        moved = _moved(changed)
        if not moved:
            return
        vm_id = UUID(message.subject)
        rows = {row.field: row for row in await open_drift(session, vm_id)}
        if changed.origin == "hostler":
            await self._follow(session, message, moved, rows, changed.version)
        else:
            await self._judge(session, message, changed, rows, now)
        if moved.get("state", (None, None))[1] == VmState.DELETED.value:
            of_the_rest = (DRIFT.c.vm_id == vm_id) & (DRIFT.c.field != "state")
            await session.execute(delete(DRIFT).where(of_the_rest))

    async def _judge(
        self,
        session: AsyncSession,
        message: Message[Body],
        changed: Changed,
        rows: Mapping[str, Row[Any]],
        now: datetime,
    ) -> None:
        vm_id = UUID(message.subject)
        choices = await standing(session, vm_id)
        found: list[Deviation] = []
        over: list[str] = []
        for field, (old, new) in _moved(changed).items():
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
        self,
        session: AsyncSession,
        message: Message[Body],
        moved: Mapping[str, tuple[Any, Any]],
        rows: Mapping[str, Row[Any]],
        version: int,
    ) -> None:
        """What Hostler's own commands leave is wanted; what else moved meanwhile is only found."""
        rows = {field: row for field, row in rows.items() if field in moved}
        if not rows:
            return
        vm_id = UUID(message.subject)
        command = select(OPERATIONS.c.command).where(OPERATIONS.c.id == message.operation_id)
        meant = concerned(await session.scalar(command))
        over: list[str] = []
        for field, row in rows.items():
            new = moved[field][1]
            own = row.operation_id == message.operation_id
            if same(row.wanted, new) or (field in meant and not own):
                over.append(field)
            else:
                mine = (DRIFT.c.vm_id == vm_id) & (DRIFT.c.field == field)
                seen = {"found": new, "version": version}
                await session.execute(update(DRIFT).where(mine).values(seen))
        await close(session, vm_id, over)

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


def _moved(changed: Changed) -> dict[str, tuple[Any, Any]]:
    """Field → as it was and as it is. Of a VM that was not known nothing has moved.

    A server that is gone has no addresses; that it has them again with its return is no drift.
    """
    moved = {f: (changed.old[f], changed.new[f]) for f in FIELDS if f in changed.old}
    if set(moved.get("state", ())) & set(GONE):
        moved.pop("addresses", None)
    return moved


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
