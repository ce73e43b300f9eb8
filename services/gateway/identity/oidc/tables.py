"""Tables of identities from elsewhere: whose they are, their sessions, and what was used once."""

from sqlalchemy import Column, ForeignKey, Index, Table, Text, Uuid

from chassis.database import Instant
from services.gateway.tables import METADATA

IDENTITIES = Table(
    "identities",
    METADATA,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("linked_at", Instant, nullable=False),
    Column("used_at", Instant, nullable=False),
    Index("ix_identities_user", "user_id"),
)
"""By issuer and subject, and never by e-mail address: providers give those to others in time."""

RULED_ROLES = Table(
    "ruled_roles",
    METADATA,
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("given", Text),
)
"""The roles that rules about claims gave at the last login. Memberships hold the greater of these and
of what an admin gave, which stands in `given` meanwhile; null: nothing."""

PROVIDER_SESSIONS = Table(
    "provider_sessions",
    METADATA,
    Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("sid", Text),
    Index("ix_provider_sessions", "issuer", "subject"),
)
"""Which session at a provider a session here came from: `sid`, where the provider tells it."""

USED_ONCE = Table(
    "used_once",
    METADATA,
    Column("issuer", Text, primary_key=True),
    Column("token", Text, primary_key=True),
    Column("until", Instant, nullable=False, index=True),
)
"""Ids of logins and tokens that are good once, remembered for as long as they would hold."""
