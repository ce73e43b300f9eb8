"""Signed checkpoints: what the row at a place of a chain was, which only the key's holder can say.

Each is a JWS over `{"at", "chain", "hash", "kind", "position"}`. Of kind `head`: a chain ended
there. `verified`: it was walked up to there and held. `cut`: it is kept from behind there, what was
before has been removed by retention. They stand in a table that is append-only and are told on the
log, so that whoever rewrites the database and takes checkpoints away is found by those kept elsewhere.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import RowMapping, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from services.audit.ledger import written
from services.audit.signing import ForgedError, Signer
from services.audit.tables import CHECKPOINTS, HEADS

LOG = logging.getLogger(__name__)
Kind = Literal["head", "verified", "cut"]


@dataclass(frozen=True)
class Place:
    """A row of a chain, by its position and hash."""

    chain: str
    position: int
    hash: str


async def sign(
    session: AsyncSession, signer: Signer, kind: Kind, places: Sequence[Place], now: datetime
) -> None:
    """Write checkpoints and tell them on the log; those that are there already stay as they are."""
    for place in places:
        claims = _claims(kind, place, now)
        signed = signer.sign(claims)
        row = insert(session, CHECKPOINTS).values(
            chain=place.chain,
            position=place.position,
            kind=kind,
            hash=place.hash,
            at=now,
            signed=signed,
        )
        await session.execute(row.on_conflict_do_nothing())
        LOG.info("checkpoint", extra={**claims, "signed": signed})


def _claims(kind: Kind, place: Place, at: datetime) -> dict[str, object]:
    return {
        "at": written(at),
        "chain": place.chain,
        "hash": place.hash,
        "kind": kind,
        "position": place.position,
    }


def fault(signer: Signer, row: RowMapping) -> str:
    """Why a checkpoint does not hold; empty if it does."""
    try:
        said = signer.read(row["signed"])
    except ForgedError as error:
        return str(error)
    place = Place(row["chain"], row["position"], row["hash"])
    if said != _claims(row["kind"], place, row["at"]):
        return "it says another thing than was signed"
    return ""


async def sign_heads(
    session: AsyncSession, signer: Signer, now: datetime, rows: int, age: timedelta
) -> int:
    """Sign the heads that moved by `rows` or were last signed `age` ago; how many those were."""
    moved = HEADS.c.position - HEADS.c.signed_position
    due = or_(moved >= rows, HEADS.c.signed_at.is_(None), HEADS.c.signed_at <= now - age)
    query = select(HEADS).where(moved > 0, due).order_by(HEADS.c.chain).with_for_update()
    heads = (await session.execute(query)).all()
    places = [Place(head.chain, head.position, head.hash) for head in heads]
    await sign(session, signer, "head", places, now)
    for place in places:
        signed: dict[str, Any] = {"signed_position": place.position, "signed_at": now}
        mine = update(HEADS).where(HEADS.c.chain == place.chain)
        await session.execute(mine.values(signed))
    return len(places)


async def latest(
    session: AsyncSession, signer: Signer, kind: Kind, chain: str, until: int
) -> Place | None:
    """The last checkpoint of a kind at or before a position; None if there is none that holds."""
    query = (
        select(CHECKPOINTS)
        .where(CHECKPOINTS.c.chain == chain, CHECKPOINTS.c.kind == kind)
        .where(CHECKPOINTS.c.position <= until)
        .order_by(CHECKPOINTS.c.position.desc())
        .limit(1)
    )
    row = (await session.execute(query)).mappings().first()
    if row is None or fault(signer, row):
        return None
    return Place(row["chain"], row["position"], row["hash"])


async def between(
    session: AsyncSession, chain: str, after: int, until: int | None = None
) -> Sequence[RowMapping]:
    """The checkpoints of a chain behind `after`, up to `until`, in order."""
    query = select(CHECKPOINTS).where(CHECKPOINTS.c.chain == chain, CHECKPOINTS.c.position > after)
    if until is not None:
        query = query.where(CHECKPOINTS.c.position <= until)
    ordered = query.order_by(CHECKPOINTS.c.position, CHECKPOINTS.c.kind)
    return (await session.execute(ordered)).mappings().all()
