"""Operations whose command could not be taken, or never came: they end as all others do.

Of a dead letter a row is kept that stands in its VM's line, so that the operation has a deadline
and can be steered; a replay before its end fills it. Of what nobody heard of, the row is made by
who gives it up, and tells the command that comes late after all that it is over.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from chassis.wire import Record
from contracts.errors import MEANINGS, ErrorCode
from contracts.message import Body, Command, Message
from contracts.operation import events
from contracts.operation.commands import Abandon, Cancel
from contracts.operation.states import OperationError, OperationState
from contracts.topics import types
from services.provisioner.saying import about
from services.provisioner.tables import BROKEN, Operation

DEAD_LETTER = "dead_letter"
"""What such an operation is blocked on: somebody has to replay it."""
OPERATIONS = Operation.metadata.tables["operations"]
_LONGEST = timedelta(minutes=15)
"""The deadline of what is of no known type."""
_DETAIL = "It is among the dead letters; until its deadline it can be replayed from there."


def may_be_filled() -> ColumnElement[bool]:
    """Of which rows a command that comes takes the place."""
    return (OPERATIONS.c.blocked_on == DEAD_LETTER) & OPERATIONS.c.ended_at.is_(None)


def _blank() -> dict[str, object]:
    """The columns of an operation of which nothing was done yet."""
    return {
        "state": OperationState.QUEUED,
        "attempts": 0,
        "bugs": 0,
        "due_at": None,
        "doubts": 0,
        "cancel_requested": False,
        "compensating": False,
        "anew": False,
        "rebuilds": 0,
        "leaving": False,
    }


def begun_by(message: Message[Body]) -> dict[str, object]:
    """The same of one that a message began, with what its envelope says."""
    return _blank() | {
        "vm_id": UUID(message.subject),
        "project_id": message.project_id,
        "account": message.account,
        "actor": message.actor,
        "request_id": message.request_id,
        "traceparent": message.traceparent,
        "created_at": message.time,
    }


async def keep(session: AsyncSession, record: Record, now: datetime) -> Message[Body] | None:
    """Keep the operation of a dead letter, if its envelope names one that is not known.

    What is to be said of it; None if there is nothing.
    """
    row = _of_letter(record)
    if row is None:
        return None
    made = insert(session, OPERATIONS).values(row).on_conflict_do_nothing(index_elements=["id"])
    seq = (await session.execute(made.returning(OPERATIONS.c.seq))).scalar_one_or_none()
    if seq is None:
        return None
    operation = await session.get_one(Operation, seq)
    waits = events.Retrying(
        command=operation.command,
        attempt=0,
        due_at=operation.deadline_at,
        error=_unreadable(),
        blocked_on=DEAD_LETTER,
    )
    return about(operation, waits, now)


async def make(
    session: AsyncSession, messages: Sequence[Message[Body]], known: dict[UUID, Operation]
) -> dict[UUID, Operation]:
    """Rows of the targets that are not known, for those who end them; by their ids."""
    rows = {
        m.data.target: _of_target(m, m.data)
        for m in messages
        if isinstance(m.data, Cancel | Abandon) and m.data.target not in known
    }
    if not rows:
        return {}
    made = insert(session, OPERATIONS).on_conflict_do_nothing(index_elements=["id"])
    await session.execute(made, [rows[each] for each in sorted(rows)])
    found = select(Operation).where(Operation.id.in_(rows)).order_by(Operation.seq)
    return {each.id: each for each in (await session.execute(found.with_for_update())).scalars()}


def never_arrived(why: str) -> OperationError:
    """What an operation that nobody heard of ends with."""
    sentence = MEANINGS[ErrorCode.NEVER_ARRIVED].sentence
    return OperationError(code=ErrorCode.NEVER_ARRIVED, detail=f"{sentence} {why}".strip())


def _unreadable() -> OperationError:
    detail = f"{MEANINGS[ErrorCode.UNREADABLE].sentence} {_DETAIL}"
    return OperationError(code=ErrorCode.UNREADABLE, detail=detail)


def _of_letter(record: Record) -> dict[str, object] | None:
    """None where the headers do not tell which operation on which VM it is."""
    said = record.headers
    command = said.get("ce_type", "")
    try:
        ids = UUID(said["ce_id"]), UUID(said["ce_subject"])
        at = datetime.fromisoformat(said["ce_time"])
    except (KeyError, ValueError):
        return None
    if not command.startswith("vm.") or at.tzinfo is None:
        return None
    kind = types().get(command)
    limit = kind.deadline if kind is not None and issubclass(kind, Command) else _LONGEST
    return _blank() | {
        "id": ids[0],
        "vm_id": ids[1],
        "project_id": said.get("ce_projectid", ""),
        "account": said.get("ce_account", ""),
        "actor": said.get("ce_actor", ""),
        "request_id": said.get("ce_requestid", ""),
        "traceparent": said.get("traceparent", ""),
        "command": command,
        "data": dict(BROKEN),
        "error": _unreadable().model_dump(mode="json"),
        "blocked_on": DEAD_LETTER,
        "deadline_at": at + limit,
        "created_at": at,
    }


def _of_target(message: Message[Body], asked: Cancel | Abandon) -> dict[str, object]:
    return begun_by(message) | {
        "id": asked.target,
        "command": asked.command,
        "data": dict(BROKEN),
        "deadline_at": message.time,
    }
