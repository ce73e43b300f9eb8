"""The base of a service's tables, with the four that every service has."""

from sqlalchemy import Column, LargeBinary, MetaData, Table, Text, Uuid

from chassis.database import Instant, Json
from chassis.migrations import big_id

METADATA = MetaData()

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("id", big_id(), primary_key=True, autoincrement=True),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("headers", Json, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("said_at", Instant, nullable=False),
    sqlite_autoincrement=True,
)
"""No id is given twice: a relay that was overtaken may still delete what it has published."""

INBOX = Table(
    "inbox",
    METADATA,
    Column("message_id", Uuid, primary_key=True),
    Column("taken_at", Instant, nullable=False, index=True),
)
LEASES = Table(
    "leases",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("token", Uuid, nullable=False),
    Column("until", Instant, nullable=False),
)
SETTINGS_SEEN = Table(
    "settings_seen",
    METADATA,
    Column("service", Text, primary_key=True),
    Column("digests", Json, nullable=False),
    Column("seen_at", Instant, nullable=False),
)
"""One row: what the service was last told, as digests with a key, by variable."""
