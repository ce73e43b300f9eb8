"""Walks the ledger's chains and says where the first one is broken.

It finds a changed field, a row that was removed, moved or put in, and an end that was cut off (the
head says how long a chain is). It reads page by page: memory does not grow with the ledger, no
transaction lasts, and what is appended meanwhile is left for the next time.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field
from sqlalchemy import RowMapping, func, select

from chassis.database import Database
from services.audit.ledger import GENESIS, Head, hash_of
from services.audit.tables import HEADS, LEDGER

PAGE = 1000


class Broken(BaseModel):
    """The first place at which a chain does not hold."""

    chain: str = Field(examples=["vm.events/3"])
    position: int = Field(description="The position at which a sound row is missing.")
    id: int | None = Field(description="The row that stands there or follows; null at the end.")
    reason: str


class Verdict(BaseModel):
    """What verifying the ledger came to."""

    valid: bool
    chains: int = Field(description="Chains that were walked.")
    rows: int = Field(description="Rows that were found sound.")
    first_broken: Broken | None = None


@dataclass
class _Walk:
    """How far a chain has been walked: the last sound row."""

    chain: str
    position: int = 0
    hash: str = GENESIS
    id: int = 0


async def verify(database: Database) -> Verdict:
    """Walk every chain up to its head; stop at the first that is broken."""
    chains = rows = 0
    for chain in await _chains(database):
        walk = _Walk(chain)
        broken = await _verify_chain(database, walk)
        chains, rows = chains + 1, rows + walk.position
        if broken is not None:
            return Verdict(valid=False, chains=chains, rows=rows, first_broken=broken)
    return Verdict(valid=True, chains=chains, rows=rows)


async def _verify_chain(database: Database, walk: _Walk) -> Broken | None:
    head = await _head(database, walk.chain)
    async for rows in _pages(database, walk, head.position):
        for row in rows:
            if reason := _reason(walk, row):
                return _broken(walk, row["id"], reason)
            walk.position, walk.hash, walk.id = row["position"], row["hash"], row["id"]
    if walk.position < head.position:
        return _broken(walk, None, f"the head says that there are {head.position} rows")
    if walk.hash != head.hash:
        return _broken(walk, None, "the head holds another hash than the last row")
    return await _beyond_head(database, walk)


def _reason(walk: _Walk, row: RowMapping) -> str:
    """Why `row` does not follow the last sound one; empty if it does."""
    if row["position"] != walk.position + 1:
        return f"the next row has position {row['position']}"
    if row["hash"] != hash_of(row):
        return "the row's hash is not the hash of its fields"
    if row["previous_hash"] != walk.hash:
        return "the row does not hold the hash of the row before it"
    return "" if row["id"] > walk.id else "the row's id is not behind the id of the row before it"


def _broken(walk: _Walk, row_id: int | None, reason: str) -> Broken:
    return Broken(chain=walk.chain, position=walk.position + 1, id=row_id, reason=reason)


async def _chains(database: Database) -> Sequence[str]:
    """All names of chains, found by one step in the index for each, not by reading the rows."""
    async with database.reading() as session:
        found = set((await session.execute(select(HEADS.c.chain))).scalars())
        last = await session.scalar(select(func.min(LEDGER.c.chain)))
        while last is not None:
            found.add(last)
            following = select(func.min(LEDGER.c.chain)).where(LEDGER.c.chain > last)
            last = await session.scalar(following)
    return sorted(found)


async def _head(database: Database, chain: str) -> Head:
    async with database.reading() as session:
        row = (await session.execute(select(HEADS).where(HEADS.c.chain == chain))).first()
    return Head(row.position, row.hash) if row else Head()


async def _pages(database: Database, walk: _Walk, end: int) -> AsyncGenerator[Sequence[RowMapping]]:
    """The rows behind `walk`, which the reader moves on, up to `end`."""
    while True:
        async with database.reading() as session:
            query = (
                select(LEDGER)
                .where(LEDGER.c.chain == walk.chain)
                .where(LEDGER.c.position > walk.position, LEDGER.c.position <= end)
                .order_by(LEDGER.c.position)
                .limit(PAGE)
            )
            rows = (await session.execute(query)).mappings().all()
        if not rows:
            return
        yield rows


async def _beyond_head(database: Database, walk: _Walk) -> Broken | None:
    """Rows that no head covers. One statement: head and rows are of the same moment."""
    last = func.max(LEDGER.c.position)
    length = select(HEADS.c.position).where(HEADS.c.chain == walk.chain).scalar_subquery()
    query = select(last, length).where(LEDGER.c.chain == walk.chain)
    async with database.reading() as session:
        end, head = (await session.execute(query)).one()
    if (end or 0) > (head or 0):
        return _broken(walk, None, f"there are {end} rows, but the head says {head or 0}")
    return None
