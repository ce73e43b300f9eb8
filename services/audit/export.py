"""The ledger as one stream of lines, chain by chain, in the order of each chain."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, select

from chassis.database import Database
from services.audit.ledger import entry
from services.audit.tables import HEADS, LEDGER

PAGE = 1000


Shape = Callable[[RowMapping], dict[str, Any]]
"""How a row is told."""


async def export(
    database: Database, conditions: Sequence[ColumnElement[bool]], shape: Shape = entry
) -> AsyncGenerator[bytes]:
    """NDJSON: the entries that fulfil the conditions, and a last line that says that they are all.

    `{"count": n, "sha256": …}`: how many lines went before it, and the digest of their bytes, each
    with its end of line. A stream without it broke off. What is appended meanwhile is left out.
    """
    digest, count = sha256(), 0
    for chain, end in await _ends(database):
        place = 0
        while rows := await _page(database, chain, place, end, conditions):
            place = rows[-1]["position"]
            lines = b"".join([_written(shape(row)) for row in rows])
            digest.update(lines)
            count += len(rows)
            yield lines
    yield _written({"count": count, "sha256": digest.hexdigest()})


async def _ends(database: Database) -> Sequence[tuple[str, int]]:
    async with database.reading() as session:
        query = select(HEADS.c.chain, HEADS.c.position).order_by(HEADS.c.chain)
        return [(row.chain, row.position) for row in (await session.execute(query)).all()]


async def _page(
    database: Database,
    chain: str,
    place: int,
    end: int,
    conditions: Sequence[ColumnElement[bool]],
) -> Sequence[RowMapping]:
    here = (LEDGER.c.position > place) & (LEDGER.c.position <= end)
    query = select(LEDGER).where(LEDGER.c.chain == chain, here, *conditions)
    async with database.reading() as session:
        ordered = query.order_by(LEDGER.c.position).limit(PAGE)
        return (await session.execute(ordered)).mappings().all()


def _written(said: dict[str, object]) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"
