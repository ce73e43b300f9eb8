"""Stuck operations: when people should know of one, and why it does not get on. Pure functions."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from contracts.message import Command
from contracts.operation.events import Issued, OperationEvent, Retrying, Started
from contracts.operation.states import OperationState
from services.gateway.resources import Stuck
from services.gateway.turns import COMMANDS

MANY_ATTEMPTS = 3
WAITING_ITS_TURN = "waiting_its_turn"
SLOW = "slow"


def stuck_at(command: type[Command] | Command, accepted_at: datetime) -> datetime:
    """When an operation that was accepted or began then is stuck, unless something moves it."""
    return accepted_at + command.stuck_after


def stuck_after_event(row: Row[Any], told: OperationEvent, at: datetime) -> datetime | None:
    """`stuck_at` of an operation after what was told of it at `at`; None once it has ended.

    `row` is as it was before the event. What waited for its turn begins to count at its start, and
    what gets on after it was stuck, or is tried anew because somebody asked, counts again. It is
    stuck at once where room has to be made first, or after three attempts.
    """
    match told:
        case Retrying():
            return _retrying(row, told, at)
        case Started():
            return row.stuck_at if row.started_at else _anew(row, at)
        case Issued():
            return _anew(row, at) if _is_due(row, at) else row.stuck_at
        case _:
            return None


def stuck(row: Row[Any], now: datetime) -> Stuck | None:
    """Since when an operation is stuck and why; None if it is not. `row` has its `position`."""
    if row.ended_at is not None or row.stuck_at is None or row.stuck_at > now:
        return None
    return Stuck(since=row.stuck_at, reason=_reason(row))


def _retrying(row: Row[Any], told: Retrying, at: datetime) -> datetime | None:
    if told.blocked_on is None and told.deadline_at not in {None, row.deadline_at}:
        return _anew(row, at)
    if told.blocked_on is None and told.attempt < MANY_ATTEMPTS:
        return row.stuck_at
    return row.stuck_at if _is_due(row, at) else at


def _is_due(row: Row[Any], at: datetime) -> bool:
    return row.stuck_at is not None and row.stuck_at <= at


def _anew(row: Row[Any], at: datetime) -> datetime:
    command = COMMANDS.get(row.command)
    return at + (command.stuck_after if command else timedelta())


def _reason(row: Row[Any]) -> str:
    if row.blocked_on:
        return str(row.blocked_on)
    if row.error:
        return str(row.error["code"])
    queued = row.state == OperationState.QUEUED.value
    return WAITING_ITS_TURN if queued and row.position else SLOW
