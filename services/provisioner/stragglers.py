"""Servers that an unanswered create made and that show only after the create has ended.

Such a create is looked after for a while: what carries its mark and is not the VM's server goes.
"""

from datetime import datetime, timedelta

from services.provisioner.tables import Operation

_PAUSES = (timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=10))
"""How long after its end, and then after each check, a create is checked."""


def may_come(operation: Operation) -> bool:
    """Whether more than the one server that is known, or undone, may have been made."""
    if operation.creates is None:
        return False
    known, repeated = operation.server_id is not None, operation.attempts > 1
    return (repeated or not known) if operation.compensating else (repeated and known)


def next_check(checks: int, now: datetime) -> datetime | None:
    """When to look again after so many checks; None: that was enough."""
    return now + _PAUSES[checks] if checks < len(_PAUSES) else None
