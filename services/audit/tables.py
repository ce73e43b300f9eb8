"""Audit's tables: the ledger and its checkpoints, which are append-only, heads, intents and verifications."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from chassis.database import Instant, Json
from chassis.migrations import big_id

METADATA = MetaData()
SQLITE_ONLY = {"only": "sqlite"}


def _where_said(column: str) -> dict[str, Any]:
    """An index over the rows alone in which a column says something."""
    where = text(f"{column} <> ''")
    return {"postgresql_where": where, "sqlite_where": where}


LEDGER = Table(
    "ledger",
    METADATA,
    Column("id", big_id(), primary_key=True, autoincrement=True),
    Column("chain", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("time", Instant, nullable=False),
    Column("source", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("vm_id", Uuid),
    Column("project_id", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("operation_id", Uuid),
    Column("request_id", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("address", Text, nullable=False, server_default=""),
    Column("client", Text, nullable=False, server_default=""),
    Column("credential", Text, nullable=False, server_default=""),
    Column("permission", Text, nullable=False, server_default=""),
    UniqueConstraint("message_id", info=SQLITE_ONLY),
    UniqueConstraint("chain", "position", info=SQLITE_ONLY),
    Index("ix_ledger_time", "project_id", "time", "id"),
    Index("ix_ledger_vm", "vm_id", "time", "id"),
    Index("ix_ledger_operation", "operation_id", "time", "id"),
    Index("ix_ledger_address", "address", "time", "id", **_where_said("address")),
    Index("ix_ledger_credential", "credential", "time", "id", **_where_said("credential")),
    Index("ix_ledger_permission", "permission", "time", "id", **_where_said("permission")),
    sqlite_autoincrement=True,
)
"""`address` to `permission`: of what came of a request; empty in what did not, and in most rows, of
which the indexes over them hold nothing. `data` is text, the very bytes that were hashed: JSONB would not give them back as they came.

On Postgres it is partitioned by the month of `recorded_at`, and each partition has the keys of its
own: (chain, position) and message_id. `recorded_at` never goes back within a chain, so that what
leaves with an old partition is the beginning of each chain.
"""

HEADS = Table(
    "heads",
    METADATA,
    Column("chain", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("recorded_at", Instant),
    Column("signed_position", BigInteger, nullable=False, server_default="0"),
    Column("signed_at", Instant),
)
"""The last row of each chain, locked by whoever appends to it, and how far it was signed."""

CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("chain", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("signed", Text, nullable=False),
)
"""What the row of a chain was when it was signed (services/audit/checkpoints.py)."""

INTENTS = Table(
    "intents",
    METADATA,
    Column("operation_id", Uuid, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("asked_at", Instant),
    Column("due_at", Instant),
    Column("ended_at", Instant),
    Column("noted_at", Instant, nullable=False, index=True),
    Index(
        "ix_intents_due",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
)
"""Commands whose outcome is waited for: `due_at` is when they are told as `timeout`, null once they
are, or have ended. It follows from the ledger; `ended_at` without `asked_at`: the end came first."""

FOLLOWED = Table(
    "followed",
    METADATA,
    Column("chain", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
)
"""How far each chain has been read for intents and their outcomes."""

VERIFICATIONS = Table(
    "verifications",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("full", Boolean, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("asked_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("chains", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("of_rows", BigInteger, nullable=False),
    Column("first_broken", Json),
    Index("ix_verifications_asked", "asked_at", "id"),
)
"""Walks over the whole ledger in the background."""
