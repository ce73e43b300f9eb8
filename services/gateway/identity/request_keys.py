"""Keys by which callers sign their requests, and the nonces of requests that were signed."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import (
    Column,
    Executable,
    Index,
    LargeBinary,
    Row,
    Table,
    Text,
    Uuid,
    bindparam,
    delete,
    func,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Instant
from chassis.identity import Caller
from services.gateway.tables import METADATA

REQUEST_KEYS = Table(
    "request_keys",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("holder_id", Uuid, nullable=False),
    Column("holder", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("public_key", LargeBinary),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("revoked_at", Instant),
    Index("ix_request_keys_created", "project_id", "created_at", "id"),
    Index(
        "ix_request_keys_name",
        "project_id",
        "name",
        unique=True,
        postgresql_where=text("revoked_at IS NULL"),
        sqlite_where=text("revoked_at IS NULL"),
    ),
)
"""`holder_id`: the API key or the user whose requests it signs; `public_key` is null where the key is a
shared secret, which is not stored: it follows from the pepper and the id."""

SIGNATURE_NONCES = Table(
    "signature_nonces",
    METADATA,
    Column("key_id", Uuid, primary_key=True),
    Column("nonce", Text, primary_key=True),
    Column("until", Instant, nullable=False, index=True),
)
"""Nonces that were used; a signature is too old before its nonce is forgotten."""

_LIVE = (
    (REQUEST_KEYS.c.id == bindparam("key"))
    & (REQUEST_KEYS.c.project_id == bindparam("project"))
    & (REQUEST_KEYS.c.holder_id == bindparam("holder"))
    & REQUEST_KEYS.c.revoked_at.is_(None)
)
_ONE = select(REQUEST_KEYS).where(_LIVE)


class Algorithm(StrEnum):
    """How requests are signed, by the names of RFC 9421."""

    ED25519 = "ed25519"
    HMAC_SHA256 = "hmac-sha256"


@dataclass(frozen=True)
class RequestKey:
    """What signatures by one key are checked with."""

    id: UUID
    algorithm: Algorithm
    material: Ed25519PublicKey | bytes


def holder_of(caller: Caller) -> UUID | None:
    """Whose keys sign a caller's requests: its API key's, else its user's or service account's."""
    return caller.key_id or caller.user_id or caller.service_account_id


def secret_of(pepper: bytes, key_id: UUID) -> bytes:
    """The shared secret of an hmac-sha256 key."""
    return hmac.digest(pepper, b"hostler request key " + key_id.bytes, "sha256")


async def find_key(
    session: AsyncSession, caller: Caller, key_id: UUID, pepper: bytes
) -> RequestKey | None:
    """A key that signs for this caller in its project; None for any other, and a revoked one."""
    row = (await session.execute(_ONE, _whose(caller, key_id))).first()
    return _read(row, pepper) if row is not None else None


async def has_keys(session: AsyncSession, project_id: str) -> bool:
    """Whether anybody in a project can sign."""
    live = (REQUEST_KEYS.c.project_id == project_id) & REQUEST_KEYS.c.revoked_at.is_(None)
    return bool(await session.scalar(select(func.count()).where(live)))


async def use_nonce(
    session: AsyncSession, caller: Caller, key_id: UUID, nonce: str, until: datetime
) -> bool:
    """Use a nonce, if `find_key` would find the key; whether it would, and the nonce was new.

    One statement, so that whoever remembers a key hears of its revocation here. Of gateways that
    ask at once, one is told so.
    """
    said = {"nonce": nonce, "until": until, **_whose(caller, key_id)}
    taken = await session.execute(_using(session.get_bind().dialect.name), said)
    return taken.first() is not None


async def forget_nonces(session: AsyncSession, now: datetime) -> None:
    """Forget those of signatures that are too old by themselves."""
    await session.execute(delete(SIGNATURE_NONCES).where(SIGNATURE_NONCES.c.until < now))


def _whose(caller: Caller, key_id: UUID) -> dict[str, object]:
    return {"key": key_id, "project": caller.project_id, "holder": holder_of(caller)}


@cache
def _using(dialect: str) -> Executable:
    """The statement that uses a nonce: made once, for that costs as much as to run it."""
    made = postgresql.insert if dialect == "postgresql" else sqlite.insert
    used = SIGNATURE_NONCES.c
    new = [bindparam("nonce", type_=used.nonce.type), bindparam("until", type_=used.until.type)]
    row = made(SIGNATURE_NONCES).from_select(
        [used.key_id, used.nonce, used.until], select(REQUEST_KEYS.c.id, *new).where(_LIVE)
    )
    return row.on_conflict_do_nothing().returning(used.nonce)


def _read(row: Row[Any], pepper: bytes) -> RequestKey:
    algorithm = Algorithm(row.algorithm)
    if algorithm is Algorithm.HMAC_SHA256:
        return RequestKey(row.id, algorithm, secret_of(pepper, row.id))
    return RequestKey(row.id, algorithm, Ed25519PublicKey.from_public_bytes(row.public_key))
