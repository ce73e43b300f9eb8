"""Idempotency keys: which operation a request with the same key made before."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import excluded, insert
from chassis.rows import insert_returning
from services.gateway.tables import IDEMPOTENCY_KEYS

_C = IDEMPOTENCY_KEYS.c
_ANEW = excluded("digest", "operation_id", "created_at")


@dataclass(frozen=True, order=True)
class Key:
    """An Idempotency-Key; each project has its own."""

    project_id: str
    text: str


@dataclass(frozen=True)
class Use:
    """What a key stands for: what was asked, by digest, and the operation that it became."""

    digest: bytes
    operation_id: UUID


async def claim(
    session: AsyncSession, wanted: dict[Key, Use], now: datetime, kept: timedelta
) -> dict[Key, Use]:
    """Take keys, those older than `kept` anew; the ones that are taken, with what they stand for.

    Two transactions at once: the insert of the second waits for the end of the first. All take keys
    in one order, so that none waits for one that waits for it.
    """
    if not wanted:
        return {}
    taken = await _insert(session, wanted, now, kept)
    return await earlier(session, wanted.keys() - taken, now, kept)


async def earlier(
    session: AsyncSession, keys: Collection[Key], now: datetime, kept: timedelta
) -> dict[Key, Use]:
    """What keys stand for; those that stand for nothing are left out."""
    if not keys:
        return {}
    pairs = [(key.project_id, key.text) for key in keys]
    query = select(IDEMPOTENCY_KEYS).where(
        tuple_(_C.project_id, _C.key).in_(pairs), _C.created_at >= now - kept
    )
    rows = (await session.execute(query)).all()
    return {Key(row.project_id, row.key): Use(row.digest, row.operation_id) for row in rows}


async def _insert(
    session: AsyncSession, wanted: dict[Key, Use], now: datetime, kept: timedelta
) -> set[Key]:
    claims = insert(session, IDEMPOTENCY_KEYS).on_conflict_do_update(
        index_elements=["project_id", "key"], set_=_ANEW, where=_C.created_at < now - kept
    )
    taken = claims.returning(_C.project_id, _C.key)
    rows = [_row(key, use, now) for key, use in sorted(wanted.items(), key=lambda item: item[0])]
    found = await insert_returning(session, taken, rows)
    return {Key(row.project_id, row.key) for row in found}


def _row(key: Key, use: Use, now: datetime) -> dict[str, Any]:
    return {
        "project_id": key.project_id,
        "key": key.text,
        "digest": use.digest,
        "operation_id": use.operation_id,
        "created_at": now,
    }
