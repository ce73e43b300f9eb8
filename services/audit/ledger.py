r"""The ledger: rows that are only ever appended, in one hash chain per Kafka partition.

A chain is named after its partition, e.g. `vm.events/3`; positions count from 1. Each row holds
the hash of the row before it (64 zeros in the first) and its own:

    hash = SHA-256, in lower-case hex, over the row as UTF-8 JSON with these members

access, account, actor, chain, data, message_id, operation_id, position, previous_hash, project_id,
recorded_at, request_id, source, subject, time, type, vm_id and nothing else: keys sorted at every
level, separators `,` and `:` without spaces, everything beyond ASCII as `\uXXXX`; times in UTC as
`2026-01-31T12:00:00.000000Z`, UUIDs in lower case with hyphens, null where there is none. `data`
is the message's data as a JSON object (see `redaction` for what stands in the place of secrets).
`access` is `{"address", "client", "credential", "permission"}` of the request that it came of; where
it came of none, or from before that was told, there is no such member.
Entries of `GET /v1/audit` are written just so, with `id` and `hash` besides. In Python:

    said = {name: value for name, value in entry.items() if name not in {"id", "hash"}}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == entry["hash"]

`id` orders rows within a chain as `position` does; it is not hashed, as the database gives it.
With jq: `jq -cSaj 'del(.id, .hash)' | sha256sum`. Who can write all tables can write a whole new
chain; signed checkpoints tell (see `checkpoints`).

`recorded_at` is audit's clock, but never before the row before it in the chain.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among, among_named
from chassis.database import Instant, insert, is_postgres
from chassis.rows import update_rows
from chassis.wire import Record
from services.audit.copying import Row, write
from services.audit.reading import Heard, uuid_text
from services.audit.tables import HEADS, LEDGER

GENESIS = "0" * 64
SKEW = timedelta(days=1)
"""How far the clocks of services may differ; no message is looked for before it was said."""

NAMES = (
    "account",
    "actor",
    "chain",
    "data",
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
"""The members that are hashed, in order, behind `access`."""
ACCESS = ("address", "client", "credential", "permission")
"""The members of `access`, in order."""
_OF_VMS = ("vm.", "dead.letters/", "audit.timeouts/")
"""Chains in which the subject is a VM, if it is an id."""
_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)

_KEPT = select(LEDGER.c.message_id).where(among_named(LEDGER.c.message_id, "ids"))
_KEPT_SINCE = _KEPT.where(LEDGER.c.recorded_at >= bindparam("since", type_=Instant()))
"""Made once, as building them costs as much as asking. The ids go as what the column is: of an array
that is yet to be cast Postgres knows nothing when it plans, and may compare each row with each id.
"""


class Head(NamedTuple):
    """Where a chain ends."""

    position: int = 0
    hash: str = GENESIS
    recorded_at: datetime | None = None


async def append(
    session: AsyncSession, batch: Sequence[tuple[Heard, Record]], now: datetime
) -> int:
    """Append what is not there yet, in the order given; how many rows that were.

    The heads of the chains are locked until the transaction ends, so that of two who append to the
    same chain the second sees what the first wrote.
    """
    said = [(heard, f"{record.topic}/{record.partition}") for heard, record in batch]
    heads = await _lock_heads(session, {chain for _, chain in said})
    known = await _known(session, [heard for heard, _ in batch], now)
    fresh: list[tuple[Heard, str]] = []
    for heard, chain in said:
        if heard.message_id not in known:
            known.add(heard.message_id)
            fresh.append((heard, chain))
    if fresh:
        await write(session, _rows(fresh, heads, now))
        await _move_heads(session, heads, {chain for _, chain in fresh})
    return len(fresh)


async def _lock_heads(session: AsyncSession, chains: set[str]) -> dict[str, Head]:
    # In one order for all, so that two who need the same chains never wait for each other.
    ordered = sorted(chains)
    query = select(HEADS).where(among(HEADS.c.chain, ordered)).order_by(HEADS.c.chain)
    rows = (await session.execute(query.with_for_update())).all()
    if len(rows) < len(ordered):
        for chain in ordered:
            new = insert(session, HEADS).values(chain=chain, position=0, hash=GENESIS)
            await session.execute(new.on_conflict_do_nothing())
        rows = (await session.execute(query.with_for_update())).all()
    return {row.chain: Head(row.position, row.hash, row.recorded_at) for row in rows}


async def _known(session: AsyncSession, batch: Sequence[Heard], now: datetime) -> set[str]:
    """Which of them the ledger has. Months that ended before they were said are not asked."""
    ids = [heard.message_id for heard in batch]
    since = min(heard.time for heard in batch)
    # A time that is still to come says nothing about when the message was first heard.
    is_past = all(heard.time <= now + SKEW for heard in batch) and since > _BEGIN
    if is_past and is_postgres(session):  # SQLite keeps no months apart
        asked = await session.execute(_KEPT_SINCE, {"ids": ids, "since": since - SKEW})
    else:
        asked = await session.execute(_KEPT, {"ids": ids})
    return {str(found) for found in asked.scalars()}


async def _move_heads(
    session: AsyncSession, heads: Mapping[str, Head], chains: Iterable[str]
) -> None:
    moves = [
        {
            "chain": chain,
            "position": heads[chain].position,
            "hash": heads[chain].hash,
            "recorded_at": heads[chain].recorded_at,
        }
        for chain in sorted(chains)
    ]
    await update_rows(session, HEADS, "chain", moves)


def _rows(
    fresh: Sequence[tuple[Heard, str]], heads: dict[str, Head], now: datetime
) -> Iterator[Row]:
    """The rows that these messages make of the chains, whose heads move with them."""
    stamp, recorded_at = now, written(now)
    for heard, chain in fresh:
        head = heads[chain]
        at = max(now, head.recorded_at) if head.recorded_at else now
        if at is not stamp:
            stamp, recorded_at = at, written(at)
        row = _row(heard, chain, head, recorded_at)
        heads[chain] = Head(row["position"], row["hash"], at)
        yield row


def _row(heard: Heard, chain: str, head: Head, recorded_at: str) -> Row:
    row: Row = {
        "chain": chain,
        "position": head.position + 1,
        "message_id": heard.message_id,
        "type": heard.type,
        "time": written(heard.time),
        "source": heard.source,
        "subject": heard.subject,
        "vm_id": _vm_id(heard.subject, chain),
        "project_id": heard.project_id,
        "account": heard.account,
        "actor": heard.actor,
        "operation_id": heard.operation_id,
        "request_id": heard.request_id,
        "data": heard.data,
        "recorded_at": recorded_at,
        "previous_hash": head.hash,
        "address": heard.address,
        "client": heard.client,
        "credential": heard.credential,
        "permission": heard.permission,
    }
    row["hash"] = _hash(row, row["time"], recorded_at)
    return row


def _vm_id(subject: str, chain: str) -> str | None:
    return uuid_text(subject) if chain.startswith(_OF_VMS) else None


def hash_of(row: Mapping[str, Any] | RowMapping) -> str:
    """The hash that a row of the ledger has to have."""
    return _hash(row, written(row["time"]), written(row["recorded_at"]))


def _hash(row: Mapping[str, Any] | RowMapping, time: str, recorded_at: str) -> str:
    # `data` is canonical already and goes in as it stands: any other text is another hash.
    text = (
        f'{{{_access(row)}"account":{quoted(row["account"])},"actor":{quoted(row["actor"])},'
        f'"chain":{quoted(row["chain"])},"data":{row["data"]},'
        f'"message_id":{_id(row["message_id"])},"operation_id":{_id(row["operation_id"])},'
        f'"position":{row["position"]},"previous_hash":{quoted(row["previous_hash"])},'
        f'"project_id":{quoted(row["project_id"])},"recorded_at":"{recorded_at}",'
        f'"request_id":{quoted(row["request_id"])},"source":{quoted(row["source"])},'
        f'"subject":{quoted(row["subject"])},"time":"{time}",'
        f'"type":{quoted(row["type"])},"vm_id":{_id(row["vm_id"])}}}'
    )
    return sha256(text.encode()).hexdigest()


def _access(row: Mapping[str, Any] | RowMapping) -> str:
    """The member `access` as it is hashed; nothing where the row says nothing of it."""
    if not (row["address"] or row["credential"] or row["permission"] or row["client"]):
        return ""
    return (
        f'"access":{{"address":{quoted(row["address"])},"client":{quoted(row["client"])},'
        f'"credential":{quoted(row["credential"])},"permission":{quoted(row["permission"])}}},'
    )


def _id(value: UUID | str | None) -> str:
    return f'"{value}"' if value is not None else "null"


def written(time: datetime) -> str:
    """A time as it is hashed and told."""
    utc = time.astimezone(UTC).isoformat(timespec="microseconds")
    return utc.removesuffix("+00:00") + "Z"


def entry(row: RowMapping) -> dict[str, Any]:
    """A row as it is told: JSON values, from which its hash can be computed again."""
    access = {name: row[name] for name in ACCESS}
    return {
        "id": row["id"],
        **({"access": access} if any(access.values()) else {}),
        **{name: _value(row[name]) for name in NAMES},
        "data": json.loads(row["data"]),
        "hash": row["hash"],
    }


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return written(value)
    return str(value) if isinstance(value, UUID) else value
