"""The table of service accounts. Secrets only as hashes."""

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, Table, Text, Uuid

from chassis.database import Instant, Json
from services.gateway.tables import METADATA

SERVICE_ACCOUNTS = Table(
    "service_accounts",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("role", Text, nullable=False),
    Column("scopes", Json),
    Column("enabled", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("prefix", Text),
    Column("hash", LargeBinary),
    Column("former_hash", LargeBinary),
    Column("former_until", Instant),
    Column("failures", Integer, nullable=False),
    Column("locked_until", Instant),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("last_used_at", Instant),
    Index("ix_service_accounts_created", "project_id", "created_at", "id"),
    Index("ix_service_accounts_name", "project_id", "name", unique=True),
)
"""`version` goes up with whatever its access tokens stand for: those of before are refused. `failures`
counts tries at the secret since the last right one, `last_used_at` is when it was last right."""
