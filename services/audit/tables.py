"""Audit's tables: the ledger, of which rows are neither changed nor removed, and its chains' heads."""

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text, UniqueConstraint, Uuid

from chassis.database import Instant
from chassis.migrations import big_id

METADATA = MetaData()

LEDGER = Table(
    "ledger",
    METADATA,
    Column("id", big_id(), primary_key=True, autoincrement=True),
    Column("chain", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("message_id", Uuid, nullable=False, unique=True),
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
    UniqueConstraint("chain", "position"),
    Index("ix_ledger_time", "project_id", "time", "id"),
    Index("ix_ledger_vm", "vm_id", "time", "id"),
    Index("ix_ledger_operation", "operation_id", "time", "id"),
    sqlite_autoincrement=True,
)
"""`data` is text, the very bytes that were hashed: JSONB would not give them back as they came."""

HEADS = Table(
    "heads",
    METADATA,
    Column("chain", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)
"""The last row of each chain; locked by whoever appends to it."""
