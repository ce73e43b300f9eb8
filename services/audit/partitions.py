"""The ledger's partitions on Postgres: a month each, made ahead, dropped as a whole.

The first one begins before all time. What is recorded behind the last one goes into
`ledger_default`, so that nothing is ever refused; it becomes a partition of its own as it stands.
All this is for the ledger's owner to do.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.guards import partition_statements

AHEAD = 3
"""Months that there are partitions for, beyond the current one."""
_BOUNDS = re.compile(r"FROM \((?:MINVALUE|'([^']+)')\) TO \('([^']+)'\)")
_PARTITIONS = text(
    "SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound FROM pg_inherits i"
    " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'ledger'::regclass"
)
_OWNED = text(
    "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('ledger')"
)
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('hostler.audit.partitions'))")


@dataclass(frozen=True)
class Partition:
    """Rows recorded before `end`, and not before the end of the partition before it."""

    name: str
    end: datetime


async def is_owner(session: AsyncSession) -> bool:
    """Whether the session's role owns the ledger."""
    return bool(await session.scalar(_OWNED))


async def partitions(session: AsyncSession) -> list[Partition]:
    """All with an end, the oldest first."""
    await session.execute(text("SET LOCAL TimeZone = 'UTC'"))
    found: list[Partition] = []
    for name, bound in (await session.execute(_PARTITIONS)).all():
        if match := _BOUNDS.search(bound):
            end = datetime.fromisoformat(match[2])
            found.append(Partition(name, end.astimezone(UTC)))
    return sorted(found, key=lambda partition: partition.end)


async def make_ahead(session: AsyncSession, now: datetime) -> list[str]:
    """Make the partitions that are missing up to AHEAD months from now; their names."""
    await session.execute(_LOCK)
    await session.execute(text("SET LOCAL lock_timeout = '5s'"))
    made: list[str] = []
    end = (await partitions(session))[-1].end
    latest = await session.scalar(text("SELECT max(recorded_at) FROM ledger_default"))
    if latest is not None:
        until = month_after(max(latest.astimezone(UTC), end))
        made.append(await _close_default(session, end, until))
        end = until
    while end < _months_after(now, AHEAD + 1):
        made.append(await _make(session, end))
        end = month_after(end)
    return made


async def _make(session: AsyncSession, begin: datetime) -> str:
    name = f"ledger_{begin:%Y_%m}"
    bounds = f"FROM ('{begin:%Y-%m-%d} 00:00:00+00') TO ('{_text(month_after(begin))}')"
    await _run(session, f"CREATE TABLE {name} PARTITION OF ledger FOR VALUES {bounds}")
    await _run(session, *partition_statements(name))
    return name


async def _close_default(session: AsyncSession, begin: datetime, end: datetime) -> str:
    """Give what is in the default partition bounds, as it stands, and make a new default one."""
    name = f"ledger_{begin:%Y_%m}"
    await _run(
        session,
        "ALTER TABLE ledger DETACH PARTITION ledger_default",
        f"ALTER TABLE ledger_default RENAME TO {name}",
        f"ALTER TABLE ledger ATTACH PARTITION {name}"
        f" FOR VALUES FROM ('{_text(begin)}') TO ('{_text(end)}')",
        "CREATE TABLE ledger_default PARTITION OF ledger DEFAULT",
        *partition_statements("ledger_default"),
    )
    return name


async def drop(session: AsyncSession, partition: Partition) -> None:
    """Remove a partition with all its rows."""
    await session.execute(_LOCK)
    await session.execute(text("SET LOCAL lock_timeout = '5s'"))
    await _run(session, f"DROP TABLE IF EXISTS {partition.name}")


async def _run(session: AsyncSession, *statements: str) -> None:
    for statement in statements:
        await session.execute(text(statement))


def month_after(time: datetime) -> datetime:
    """The first moment of the next month."""
    return _months_after(time, 1)


def _months_after(time: datetime, months: int) -> datetime:
    years, month = divmod(time.month - 1 + months, 12)
    return datetime(time.year + years, month + 1, 1, tzinfo=UTC)


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%d} 00:00:00+00"
