"""Retention: the oldest months leave the ledger as a whole, and a signed checkpoint says so.

`python -m services.audit.retention --keep 365d`, as the role that owns the ledger: with
HOSTLER_DATABASE_OWNER_URL set, or as HOSTLER_DATABASE_URL where there is but one role. It also runs
in the service, daily, where HOSTLER_LEDGER_RETENTION is set. What does not verify is not removed.
"""

import argparse
import asyncio
import re
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, changed
from chassis.leases import Clock
from chassis.settings import complaints
from contracts.message import utc_now
from services.audit import checkpoints, partitions
from services.audit.checkpoints import Place
from services.audit.guards import sqlite_guard_statements, sqlite_lift_statements
from services.audit.settings import AuditSettings
from services.audit.signing import Signer, open_signer
from services.audit.tables import HEADS, LEDGER
from services.audit.verification import Broken, Verification

_DURATION = re.compile(r"(\d{1,5})d")


class RefusedError(RuntimeError):
    """The ledger does not hold: nothing is removed."""

    def __init__(self, broken: Broken) -> None:
        where = f"{broken.chain} at position {broken.position}"
        super().__init__(f"nothing is removed, as the ledger is broken: {where}: {broken.reason}")


@dataclass(frozen=True)
class Retention:
    """Removes what is older than `keep`, as `owner`, who may."""

    owner: Database
    signer: Signer
    clock: Clock
    keep: timedelta

    async def run(self) -> int:
        """Remove what is due; how many rows those were. RefusedError if the ledger is broken."""
        now = self.clock()
        limit = now - self.keep
        if self.owner.is_postgres:
            async with self.owner.session() as session:
                due = [p for p in await partitions.partitions(session) if p.end <= limit]
            return sum([await self._drop(each) for each in due])
        cut = datetime(limit.year, limit.month, 1, tzinfo=now.tzinfo)
        return await self._delete(cut)

    async def _drop(self, partition: partitions.Partition) -> int:
        gone = await self._sign_cut(partition.end)
        async with self.owner.session() as session:
            await partitions.drop(session, partition)
        return gone

    async def _delete(self, cut: datetime) -> int:
        """SQLite has no partitions: the guard is lifted within the one transaction."""
        await self._sign_cut(cut)
        async with self.owner.session() as session:
            leaving = await _leaving(session, cut)
            for statement in sqlite_lift_statements("ledger"):
                await session.execute(text(statement))
            gone = 0
            for place, _ in leaving:
                chain = LEDGER.c.chain == place.chain
                old = delete(LEDGER).where(chain, LEDGER.c.position <= place.position)
                gone += await changed(session, old)
            for statement in sqlite_guard_statements("ledger"):
                await session.execute(text(statement))
        return gone

    async def _sign_cut(self, cut: datetime) -> int:
        """Sign the last row of each chain that is to go; how many rows go in all."""
        found = await Verification(self.owner, self.signer, self.clock, full=False).run()
        if found.broken is not None:
            raise RefusedError(found.broken)
        async with self.owner.session() as session:
            leaving = await _leaving(session, cut)
            places = [place for place, _ in leaving]
            await checkpoints.sign(session, self.signer, "cut", places, self.clock())
        return sum(place.position - first + 1 for place, first in leaving)


async def _leaving(session: AsyncSession, cut: datetime) -> list[tuple[Place, int]]:
    """What each chain loses: its last row before those recorded at `cut` or later, and its first."""
    leaving: list[tuple[Place, int]] = []
    for chain in (await session.execute(select(HEADS.c.chain).order_by(HEADS.c.chain))).scalars():
        its = LEDGER.c.chain == chain
        later = select(func.min(LEDGER.c.position)).where(its, LEDGER.c.recorded_at >= cut)
        first_kept = await session.scalar(later)
        query = select(LEDGER.c.position, LEDGER.c.hash).where(its)
        if first_kept is not None:
            query = query.where(LEDGER.c.position < first_kept)
        row = (await session.execute(query.order_by(LEDGER.c.position.desc()).limit(1))).first()
        if row is not None:
            first = await session.scalar(select(func.min(LEDGER.c.position)).where(its))
            leaving.append((Place(chain, row.position, row.hash), first or row.position))
    return leaving


async def upkeep(owner: Database, clock: Clock) -> list[str]:
    """Make the partitions of the months to come; their names. Nothing where there is no need."""
    if not owner.is_postgres:
        return []
    async with owner.session() as session:
        if not await partitions.is_owner(session):
            return []
        return await partitions.make_ahead(session, clock())


def owner_of(settings: AuditSettings) -> Database:
    """The database as whoever owns its tables."""
    url = settings.database_owner_url
    return Database(url.get_secret_value() if url else settings.database_url, "audit", pool=1)


def _days(said: str) -> timedelta:
    match = _DURATION.fullmatch(said)
    if match is None or int(match[1]) < 1:
        raise argparse.ArgumentTypeError("write a number of days, like 365d")
    return timedelta(days=int(match[1]))


async def _main(settings: AuditSettings, keep: timedelta) -> None:
    signer = open_signer(settings.signing_key, settings.signing_key_file, settings.former_keys)
    owner = owner_of(settings)
    try:
        await upkeep(owner, utc_now)
        gone = await Retention(owner, signer, utc_now, keep).run()
    finally:
        await owner.close()
    print(f"{gone} rows removed")  # noqa: T201 - the answer of a command


def main() -> int:
    """0, or 1 if the ledger is broken, or 2 if the settings are wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=_days, required=True, help="days, like 365d")
    keep = parser.parse_args().keep
    try:
        asyncio.run(_main(AuditSettings(), keep))
    except RefusedError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except (ValueError, OSError) as error:
        print(*complaints(error), sep="\n", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
