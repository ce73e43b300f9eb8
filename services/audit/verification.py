"""Walks the ledger's chains and says where the first one is broken.

It finds a changed field, a row that was removed, moved or put in, an end that was cut off (the head
says how long a chain is), and a chain that was written anew as a whole (signed checkpoints say what
it was). It reads page by page: memory does not grow with the ledger, no transaction lasts, and what
is appended meanwhile is left for the next time. Where retention takes rows away meanwhile, which it
signs first, the chain is walked again from where it begins then. Up to where it came it signs: a walk
that is not `full` goes on from there.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import RowMapping, Select, Table, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.leases import Clock
from services.audit import checkpoints
from services.audit.checkpoints import Place
from services.audit.ledger import GENESIS, Head, hash_of
from services.audit.signing import Signer
from services.audit.tables import CHECKPOINTS, HEADS, LEDGER

PAGE = 1000
MARK = 1000
"""A walk of fewer rows is not worth a signature."""


class Broken(BaseModel):
    """The first place at which a chain does not hold."""

    chain: str = Field(examples=["vm.events/3"])
    position: int = Field(description="The position at which a sound row is missing.")
    id: int | None = Field(description="The row that stands there or follows; null at the end.")
    reason: str


class Verdict(BaseModel):
    """What verifying the ledger came to."""

    valid: bool
    chains: int = Field(description="Chains that were verified.")
    rows: int = Field(description="Rows that were found sound, now or before.")
    first_broken: Broken | None = None


@dataclass
class Progress:
    """How far a walk over the ledger has come. `ended`: it came to an end, or to what is broken."""

    chains: int = 0
    rows: int = 0
    walked: int = 0
    broken: Broken | None = None
    ended: bool = False

    @property
    def verdict(self) -> Verdict:
        """The same as an answer."""
        sound = self.broken is None
        return Verdict(valid=sound, chains=self.chains, rows=self.rows, first_broken=self.broken)


Told = Callable[[Progress], Awaitable[None]]


class _BreakError(Exception):
    def __init__(self, walk: "_Walk", row_id: int | None, reason: str) -> None:
        super().__init__(reason)
        place = walk.position + 1
        self.broken = Broken(chain=walk.chain, position=place, id=row_id, reason=reason)


class _GapError(_BreakError):
    """The row behind the last sound one is not there. Retention may have taken it."""


@dataclass
class _Walk:
    """How far a chain has been walked: the last sound row. `first`: the oldest that is kept."""

    chain: str
    position: int = 0
    hash: str = GENESIS
    id: int = 0
    first: int = 1

    @property
    def rows(self) -> int:
        return self.position - self.first + 1


@dataclass(frozen=True)
class _Start:
    """Where a chain begins: its oldest row, the place before that, and the last cut up to there."""

    oldest: RowMapping | None
    until: int
    cut: Place


@dataclass
class Verification:
    """One walk. `full`: from the oldest rows on; else from where a walk has been and signed.

    `budget`: rows after which it stops before its end. `told` hears of the progress page by page.
    """

    database: Database
    signer: Signer
    clock: Clock
    full: bool = True
    budget: int | None = None
    told: Told | None = None
    progress: Progress = field(default_factory=Progress)

    async def run(self) -> Progress:
        """Walk every chain up to its head; stop at the first that is broken."""
        try:
            for chain in await _chains(self.database):
                if not await self._verify_chain(chain):
                    return self.progress
        except _BreakError as error:
            self.progress.broken = error.broken
        self.progress.ended = True
        return self.progress

    async def _verify_chain(self, chain: str) -> bool:
        """Whether it was walked to its end; _BreakError if it does not hold."""
        self.progress.chains += 1
        before = self.progress.rows
        while True:
            try:
                return await self._walk_chain(chain, before)
            except _GapError as gap:
                # Each time it begins further on than it had come: this ends.
                if not await self._was_cut(chain, gap.broken.position):
                    raise

    async def _was_cut(self, chain: str, position: int) -> bool:
        """Whether a row is missing because retention has removed all up to it, or further."""
        head = await _head(self.database, chain)
        async with self.database.reading() as session:
            start = await self._start(session, chain, head)
        return start.until == start.cut.position >= position

    async def _walk_chain(self, chain: str, before: int) -> bool:
        """The same of one walk from where it begins now; `before`: rows of other chains."""
        head = await _head(self.database, chain)
        walk = await self._begin(chain, head)
        begun = walk.position
        self.progress.rows = before + walk.rows
        async for rows in _pages(self.database, walk, head.position):
            try:
                await self._check(walk, rows)
            finally:
                self.progress.rows = before + walk.rows
            self.progress.walked += len(rows)
            if self.told is not None:
                await self.told(self.progress)
            if self._spent() and walk.position < head.position:
                await self._mark(walk)
                return False
        await self._check_end(walk, head)
        if walk.position - begun >= MARK:
            await self._mark(walk)
        return True

    def _spent(self) -> bool:
        return self.budget is not None and self.progress.walked >= self.budget

    async def _start(self, session: AsyncSession, chain: str, head: Head) -> _Start:
        oldest = (await session.execute(_rows_of(chain).limit(1))).mappings().first()
        until = oldest["position"] - 1 if oldest is not None else head.position
        cut = await checkpoints.latest(session, self.signer, "cut", chain, until)
        return _Start(oldest, until, cut or Place(chain, 0, GENESIS))

    async def _begin(self, chain: str, head: Head) -> _Walk:
        """The place from which a chain is walked: one that is known by itself, or was signed."""
        async with self.database.reading() as session:
            start = await self._start(session, chain, head)
            begin = start.cut
            walk = _Walk(chain, begin.position, begin.hash, first=begin.position + 1)
            if start.oldest is not None and start.until != walk.position:
                reason = "the rows before it are missing, and no checkpoint says that they may be"
                raise _BreakError(walk, start.oldest["id"], reason)
            if not self.full:
                await self._go_on(session, walk, head)
        return walk

    async def _go_on(self, session: AsyncSession, walk: _Walk, head: Head) -> None:
        """Move to the last place that a walk was at, if the row there is still the one it saw."""
        chain = walk.chain
        mark = await checkpoints.latest(session, self.signer, "verified", chain, head.position)
        if mark is None or mark.position <= walk.position:
            return
        here = _rows_of(chain).where(LEDGER.c.position == mark.position)
        row = (await session.execute(here)).mappings().first()
        walk.position = mark.position - 1
        reason = "the row is not the one that was verified before"
        if row is None:
            raise _GapError(walk, None, reason)
        if row["hash"] != mark.hash:
            raise _BreakError(walk, row["id"], reason)
        walk.position, walk.hash, walk.id = mark.position, mark.hash, row["id"]

    async def _check(self, walk: _Walk, rows: Sequence[RowMapping]) -> None:
        async with self.database.reading() as session:
            until = rows[-1]["position"]
            found = await checkpoints.between(session, walk.chain, walk.position, until)
        signed: dict[int, list[RowMapping]] = {}
        for mark in found:
            signed.setdefault(mark["position"], []).append(mark)
        for row in rows:
            if row["position"] > walk.position + 1:
                raise _GapError(walk, row["id"], f"the next row has position {row['position']}")
            if reason := _reason(walk, row):
                raise _BreakError(walk, row["id"], reason)
            for mark in signed.get(row["position"], ()):
                self._compare(walk, row, mark)
            walk.position, walk.hash, walk.id = row["position"], row["hash"], row["id"]

    def _compare(self, walk: _Walk, row: RowMapping, mark: RowMapping) -> None:
        if reason := checkpoints.fault(self.signer, mark):
            raise _BreakError(walk, row["id"], f"the row's checkpoint does not hold: {reason}")
        if row["hash"] != mark["hash"]:
            reason = f"the row is not the one that was signed at {mark['at']}"
            raise _BreakError(walk, row["id"], f"{reason}: it, or one before it, was replaced")

    async def _check_end(self, walk: _Walk, head: Head) -> None:
        if walk.position < head.position:
            raise _GapError(walk, None, f"the head says that there are {head.position} rows")
        if walk.hash != head.hash:
            raise _BreakError(walk, None, "the head holds another hash than the last row")
        async with self.database.reading() as session:
            ends = (await session.execute(_ends(walk.chain))).one()
        length = ends.length or 0
        if (ends.last or 0) > length:
            raise _BreakError(walk, None, f"there are {ends.last} rows, but the head says {length}")
        if (ends.signed or 0) > length:
            reason = f"a checkpoint says that there were {ends.signed} rows, the head {length}"
            raise _BreakError(walk, None, reason)

    async def _mark(self, walk: _Walk) -> None:
        place = Place(walk.chain, walk.position, walk.hash)
        async with self.database.session() as session:
            await checkpoints.sign(session, self.signer, "verified", [place], self.clock())


def _reason(walk: _Walk, row: RowMapping) -> str:
    """Why `row` does not follow the last sound one; empty if it does."""
    if row["position"] != walk.position + 1:
        return f"the next row has position {row['position']}"
    if row["hash"] != hash_of(row):
        return "the row's hash is not the hash of its fields"
    if row["previous_hash"] != walk.hash:
        return "the row does not hold the hash of the row before it"
    return "" if row["id"] > walk.id else "the row's id is not behind the id of the row before it"


async def _chains(database: Database) -> Sequence[str]:
    """All names of chains, found by one step in the index for each, not by reading the rows."""
    async with database.reading() as session:
        found = set((await session.execute(select(HEADS.c.chain))).scalars())
        for column in (LEDGER.c.chain, CHECKPOINTS.c.chain):
            last = await session.scalar(select(func.min(column)))
            while last is not None:
                found.add(last)
                last = await session.scalar(select(func.min(column)).where(column > last))
    return sorted(found)


async def _head(database: Database, chain: str) -> Head:
    async with database.reading() as session:
        row = (await session.execute(select(HEADS).where(HEADS.c.chain == chain))).first()
    return Head(row.position, row.hash) if row else Head()


def _rows_of(chain: str) -> Select[Any]:
    return select(LEDGER).where(LEDGER.c.chain == chain).order_by(LEDGER.c.position)


async def _pages(database: Database, walk: _Walk, end: int) -> AsyncGenerator[Sequence[RowMapping]]:
    """The rows behind `walk`, which the reader moves on, up to `end`."""
    while True:
        here = (LEDGER.c.position > walk.position) & (LEDGER.c.position <= end)
        async with database.reading() as session:
            query = _rows_of(walk.chain).where(here).limit(PAGE)
            rows = (await session.execute(query)).mappings().all()
        if not rows:
            return
        yield rows


def _ends(chain: str) -> Select[Any, Any, Any]:
    """The last row, the last checkpoint and the head of a chain, as of one moment."""

    def last(table: Table, name: str) -> Any:
        greatest = select(func.max(table.c.position)).where(table.c.chain == chain)
        return greatest.scalar_subquery().label(name)

    return select(
        last(LEDGER, "last"),
        last(CHECKPOINTS, "signed"),
        last(HEADS, "length"),
    )
