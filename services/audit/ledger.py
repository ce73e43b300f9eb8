r"""The ledger: rows that are only ever appended, in one hash chain per Kafka partition.

A chain is named after its partition, e.g. `vm.events/3`; positions count from 1. Each row holds
the hash of the row before it (64 zeros in the first) and its own:

    hash = SHA-256, in lower-case hex, over the row as UTF-8 JSON with these 16 members

account, actor, chain, data, message_id, operation_id, position, previous_hash, project_id,
recorded_at, request_id, source, subject, time, type, vm_id and nothing else: keys sorted at every
level, separators `,` and `:` without spaces, everything beyond ASCII as `\uXXXX`; times in UTC as
`2026-01-31T12:00:00.000000Z`, UUIDs in lower case with hyphens, null where there is none. `data`
is the message's data as a JSON object (see `redaction` for what stands in the place of secrets).
Entries of `GET /v1/audit` are written just so, with `id` and `hash` besides. In Python:

    said = {name: value for name, value in entry.items() if name not in {"id", "hash"}}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == entry["hash"]

`id` orders rows within a chain as `position` does; it is not hashed, as the database gives it.
Who can write all tables can write a whole new chain: keep the heads elsewhere to guard against it.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from chassis.consumer import Batch
from chassis.wire import Record
from contracts.message import Body, Message
from services.audit.redaction import without_secrets
from services.audit.tables import HEADS, LEDGER

GENESIS = "0" * 64
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_BEFORE_DATA = ("account", "actor", "chain")
_AFTER_DATA = (
    "message_id",
    "operation_id",
    "position",
    "previous_hash",
    "project_id",
    "recorded_at",
    "request_id",
    "source",
    "subject",
    "time",
    "type",
    "vm_id",
)
Row = dict[str, Any]


class Head(NamedTuple):
    """Where a chain ends."""

    position: int = 0
    hash: str = GENESIS


async def append(session: AsyncSession, batch: Batch, now: datetime) -> int:
    """Append what is not there yet, in the order given; how many rows that were.

    The heads of the chains are locked until the transaction ends, so that of two who append to the
    same chain the second sees what the first wrote.
    """
    heads = await _lock_heads(session, {_chain(record) for _, record in batch})
    known = await _known(session, [message.id for message, _ in batch])
    rows: dict[UUID, Row] = {}
    for message, record in batch:
        if message.id not in known and message.id not in rows:
            chain = _chain(record)
            row = rows[message.id] = _row(message, chain, heads[chain], now)
            heads[chain] = Head(row["position"], row["hash"])
    if rows:
        await session.execute(LEDGER.insert(), list(rows.values()))
        await _move_heads(session, heads, {row["chain"] for row in rows.values()})
    return len(rows)


async def _lock_heads(session: AsyncSession, chains: set[str]) -> dict[str, Head]:
    # In one order for all, so that two who need the same chains never wait for each other.
    ordered = sorted(chains)
    query = select(HEADS).where(HEADS.c.chain.in_(ordered)).order_by(HEADS.c.chain)
    rows = (await session.execute(query.with_for_update())).all()
    if len(rows) < len(ordered):
        for chain in ordered:
            new = insert(session, HEADS).values(chain=chain, position=0, hash=GENESIS)
            await session.execute(new.on_conflict_do_nothing())
        rows = (await session.execute(query.with_for_update())).all()
    return {row.chain: Head(row.position, row.hash) for row in rows}


async def _known(session: AsyncSession, ids: list[UUID]) -> set[UUID]:
    query = select(LEDGER.c.message_id).where(LEDGER.c.message_id.in_(ids))
    return set((await session.execute(query)).scalars())


async def _move_heads(
    session: AsyncSession, heads: Mapping[str, Head], chains: Iterable[str]
) -> None:
    statement = (
        update(HEADS)
        .where(HEADS.c.chain == bindparam("of"))
        .values(position=bindparam("to"), hash=bindparam("with"))
    )
    connection = await session.connection()
    moves = [{"of": c, "to": heads[c].position, "with": heads[c].hash} for c in sorted(chains)]
    await connection.execute(statement, moves)


def _chain(record: Record) -> str:
    return f"{record.topic}/{record.partition}"


def _row(message: Message[Body], chain: str, head: Head, now: datetime) -> Row:
    row: Row = {
        "chain": chain,
        "position": head.position + 1,
        "message_id": message.id,
        "type": message.type,
        "time": message.time,
        "source": message.source,
        "subject": message.subject,
        "vm_id": _vm_id(message.subject, chain),
        "project_id": message.project_id,
        "account": message.account,
        "actor": message.actor,
        "operation_id": message.operation_id,
        "request_id": message.request_id,
        "data": _json(without_secrets(message.data)),
        "recorded_at": now,
        "previous_hash": head.hash,
    }
    return {**row, "hash": hash_of(row)}


def _vm_id(subject: str, chain: str) -> UUID | None:
    if not chain.startswith(("vm.", "dead.letters/")):
        return None
    try:
        return UUID(subject)
    except ValueError:
        return None


def hash_of(row: Row | RowMapping) -> str:
    """The hash that a row of the ledger has to have."""
    before, after = _json(_plain(row, _BEFORE_DATA)), _json(_plain(row, _AFTER_DATA))
    # `data` is canonical already and goes in as it stands: any other text is another hash.
    text = f'{before[:-1]},"data":{row["data"]},{after[1:]}'
    return sha256(text.encode()).hexdigest()


def entry(row: RowMapping) -> dict[str, Any]:
    """A row as it is told: JSON values, from which its hash can be computed again."""
    return {
        "id": row["id"],
        **_plain(row, _BEFORE_DATA + _AFTER_DATA),
        "data": json.loads(row["data"]),
        "hash": row["hash"],
    }


def _plain(row: Row | RowMapping, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _value(row[name]) for name in names}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        utc = value.astimezone(UTC).replace(tzinfo=None)
        return utc.isoformat(timespec="microseconds") + "Z"
    return str(value) if isinstance(value, UUID) else value


def _json(value: Mapping[str, Any]) -> str:
    return _CANONICAL.encode(value)
