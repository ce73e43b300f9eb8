"""Walks over the whole ledger in the background: asked for, shown with their progress, and kept."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.errors import Retry
from chassis.ids import new_id
from chassis.leases import Clock, NamedLease
from contracts.errors import ErrorCode
from services.audit.signing import Signer
from services.audit.tables import HEADS, VERIFICATIONS
from services.audit.verification import Broken, Progress, Verdict, Verification

AUDIT = "hostler/audit"
IDLE_SECONDS = 1.0
LEASE_TTL = timedelta(seconds=30)


class OvertakenError(RuntimeError):
    """Another process walks on: this one's lease ran out."""


@dataclass
class Runs:
    """The walks of one ledger. Every replica may run them; the lease lets one work at a time."""

    database: Database
    signer: Signer
    clock: Clock
    lease: NamedLease
    every: timedelta

    def __post_init__(self) -> None:
        self.asked = asyncio.Event()

    async def ask(self, *, full: bool, asked_by: str) -> UUID:
        """Have the ledger walked; the run that is under way, if it is of the kind."""
        async with self.database.session() as session:
            same = _open().where(VERIFICATIONS.c.full == full).with_only_columns(VERIFICATIONS.c.id)
            run_id = await session.scalar(same)
            if run_id is None:
                run_id = await self._add(session, full=full, asked_by=asked_by)
        self.asked.set()
        return run_id

    async def _add(self, session: AsyncSession, *, full: bool, asked_by: str) -> UUID:
        values: dict[str, Any] = {"id": new_id(), "full": full, "asked_by": asked_by}
        values |= {"asked_at": self.clock(), "chains": 0, "rows": 0, "of_rows": 0}
        await session.execute(VERIFICATIONS.insert().values(values))
        return values["id"]

    async def find(self, run_id: UUID) -> Row[Any] | None:
        """One run, or None."""
        async with self.database.reading() as session:
            return (
                await session.execute(select(VERIFICATIONS).where(VERIFICATIONS.c.id == run_id))
            ).first()

    async def ended(self, run_id: UUID, seconds: float) -> Row[Any] | None:
        """A run once it has ended; None if it takes longer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # Another replica may be the one that walks: there is but the row to look at.
                while (row := await self.find(run_id)) is None or row.ended_at is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                return row
        return None

    async def quick(self, budget: int) -> Verdict:
        """The last full walk's verdict, and what has come since; Retry if that is more than `budget`.

        What was walked is signed, so that the next one goes on from there.
        """
        last = await self._last_full()
        if last is not None and last.first_broken is not None:
            return verdict_of(last)
        walk = Verification(self.database, self.signer, self.clock, full=False, budget=budget)
        progress = await walk.run()
        if progress.ended:
            return progress.verdict
        detail = f"{progress.rows} rows hold so far; ask again, it goes on from there."
        raise Retry(ErrorCode.UNAVAILABLE, detail, after=timedelta(seconds=1))

    async def _last_full(self) -> Row[Any] | None:
        done = select(VERIFICATIONS).where(
            VERIFICATIONS.c.full, VERIFICATIONS.c.ended_at.isnot(None)
        )
        latest = done.order_by(VERIFICATIONS.c.asked_at.desc(), VERIFICATIONS.c.id.desc()).limit(1)
        async with self.database.reading() as session:
            return (await session.execute(latest)).first()

    async def work(self) -> None:
        """Walk whatever is asked for, for ever; and everything, once in a while, unasked."""
        try:
            while True:
                self.asked.clear()
                if not (await self.lease.hold() and await self.work_once()):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(IDLE_SECONDS):
                            await self.asked.wait()
        finally:
            await self.lease.release()

    async def work_once(self) -> bool:
        """Do the oldest run; False if there is none to do."""
        await self._ask_by_itself()
        async with self.database.session() as session:
            row = (await session.execute(_open())).first()
            if row is None:
                return False
            total = await session.scalar(select(func.sum(HEADS.c.position))) or 0
            await self._note(session, row.id, started_at=self.clock(), of_rows=int(total))
        await self._walk(row)
        return True

    async def _ask_by_itself(self) -> None:
        query = select(func.max(VERIFICATIONS.c.asked_at)).where(VERIFICATIONS.c.full)
        async with self.database.reading() as session:
            last = await session.scalar(query)
        if last is None or last <= self.clock() - self.every:
            await self.ask(full=True, asked_by=AUDIT)

    async def _walk(self, row: Row[Any]) -> None:
        async def told(progress: Progress) -> None:
            if not await self.lease.hold():
                raise OvertakenError
            async with self.database.session() as session:
                await self._note(session, row.id, chains=progress.chains, rows=progress.rows)

        walk = Verification(self.database, self.signer, self.clock, full=row.full, told=told)
        found = await walk.run()
        broken = found.broken.model_dump(mode="json") if found.broken else None
        async with self.database.session() as session:
            await self._note(
                session,
                row.id,
                chains=found.chains,
                rows=found.rows,
                first_broken=broken,
                ended_at=self.clock(),
            )

    @staticmethod
    async def _note(session: AsyncSession, run_id: UUID, **values: Any) -> None:
        await session.execute(
            update(VERIFICATIONS).where(VERIFICATIONS.c.id == run_id).values(values)
        )


def _open() -> Any:
    """The runs that have not ended, the oldest first."""
    waiting = select(VERIFICATIONS).where(VERIFICATIONS.c.ended_at.is_(None))
    return waiting.order_by(VERIFICATIONS.c.asked_at, VERIFICATIONS.c.id).limit(1)


def verdict_of(row: Row[Any]) -> Verdict:
    """What a run that has ended came to."""
    broken = Broken.model_validate(row.first_broken) if row.first_broken else None
    return Verdict(valid=broken is None, chains=row.chains, rows=row.rows, first_broken=broken)
