"""What an entry says of how something went, by the type of its message alone."""

from enum import StrEnum

from sqlalchemy import ColumnElement, and_, select

from contracts.operation.commands import Abandon, Cancel, Retry
from contracts.operation.events import Cancelled, Failed, Succeeded
from contracts.topics import VM_COMMANDS, types
from services.audit.tables import LEDGER

TIMEOUT = "operation.timeout.v1"
"""The type of audit's own entries: no outcome came of a command in time. Never on Kafka."""
ENDS = {
    each.wire_name(): outcome
    for each, outcome in (
        (Succeeded, "succeeded"),
        (Failed, "failed"),
        (Cancelled, "cancelled"),
    )
}
STEERS = frozenset(each.wire_name() for each in (Cancel, Retry, Abandon))
_SAYING = ("contracts.access", "contracts.trust")
"""What is said at the doors: HTTP's, and that of the provisioner, which does no command that is not signed."""
_REFUSING = {"refused", "failed", "reused", "flooded"}


class Outcome(StrEnum):
    """How it went, or that it is yet to be seen."""

    INTENDED = "intended"
    DONE = "done"
    REFUSED = "refused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


def outcome_of(wire_name: str) -> Outcome | None:
    """Of a type of message; None: it tells of no request (what sync sees, how things go on)."""
    if wire_name == TIMEOUT:
        return Outcome.TIMEOUT
    if wire_name in ENDS:
        return Outcome(ENDS[wire_name])
    return _known().get(wire_name)


def _known() -> dict[str, Outcome]:
    """The types of commands, and of what is said at the doors."""
    commands = dict.fromkeys([each.wire_name() for each in VM_COMMANDS.carries], Outcome.INTENDED)
    door = [name for name, body in types().items() if body.__module__.startswith(_SAYING)]
    return commands | {
        name: Outcome.REFUSED if name.split(".")[1] in _REFUSING else Outcome.DONE for name in door
    }


def condition(outcome: Outcome) -> ColumnElement[bool]:
    """The rows that say so; of timeouts those that no later end has made untrue."""
    if outcome is not Outcome.TIMEOUT:
        names = [*ENDS, *_known()]
        return LEDGER.c.type.in_([name for name in names if outcome_of(name) is outcome])
    later = LEDGER.alias("later")
    same = and_(later.c.operation_id == LEDGER.c.operation_id, later.c.type.in_(ENDS))
    return and_(LEDGER.c.type == TIMEOUT, ~select(later.c.id).where(same).exists())
