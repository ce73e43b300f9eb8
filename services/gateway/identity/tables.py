"""Tables of identity: users and their sessions, links, mail and signing keys. Secrets only as hashes."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
)

from chassis.database import Instant, Json
from services.gateway.tables import METADATA

USERS = Table(
    "users",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("folded_email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("password", Text),
    Column("version", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("locked_until", Instant),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("logged_in_at", Instant),
    Column("factor_failures", Integer, nullable=False, server_default="0"),
    Column("factor_locked_until", Instant),
    Index("ix_users_created", "created_at", "id"),
)
"""`version` goes up with whatever access tokens say of a user: those that say another are refused.
`failures` counts tries at the password, each before it is compared, since the last right one;
`factor_failures` tries at the codes of second factors, of which a right password forgives none."""

MEMBERSHIPS = Table(
    "memberships",
    METADATA,
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Index("ix_memberships_project", "project_id", "user_id"),
)

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
    Column("address", Text),
    Column("client", Text),
    Column("refreshed_at", Instant, nullable=False),
    Column("closed_at", Instant),
    Column("amr", Json, nullable=False, server_default='["pwd"]'),
    Column("authenticated_at", Instant),
    Column("factor", Text),
    Index("ix_sessions_user", "user_id", "id"),
)
"""A login and the refresh tokens that follow from it, its family. `amr`, `authenticated_at` and `factor`:
how and when its user last showed that it is them; a refresh leaves them as they are."""

REFRESH_TOKENS = Table(
    "refresh_tokens",
    METADATA,
    Column("hash", LargeBinary, primary_key=True),
    Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
    Index("ix_refresh_tokens_session", "session_id"),
)

LINKS = Table(
    "links",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("email", Text, nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
    Column("used_at", Instant),
    Index("ix_links_user", "user_id", "purpose"),
)
"""`email`: the address that it was sent to, which is the user's by following it."""

MAIL = Table(
    "mail",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("folded_email", Text, nullable=False),
    Column("user_id", Uuid),
    Column("name", Text),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant, nullable=False, index=True),
    Column("created_at", Instant, nullable=False),
    Index("ix_mail_once", "kind", "folded_email", unique=True),
)
"""What is to be sent, without its links: those are made when it is. Gone once it is sent."""

SIGNING_KEYS = Table(
    "signing_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("public", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("active_at", Instant, nullable=False),
    Column("ends_at", Instant),
)
"""Signs from `active_at` on, until there is a newer one; what it signed holds until `ends_at`."""

FACTORS = Table(
    "factors",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("confirmed_at", Instant),
    Column("last_used_at", Instant),
    Column("sealed", LargeBinary),
    Column("last_step", BigInteger),
    Column("credential_id", LargeBinary, unique=True),
    Column("public_key", LargeBinary),
    Column("sign_count", BigInteger),
    Index("ix_factors_name", "user_id", "name", unique=True),
)
"""Second factors; without `confirmed_at` one counts for nothing yet. TOTP: its secret, sealed, and the last
time step of which a code was taken. Passkeys: the rest."""

RECOVERY_CODES = Table(
    "recovery_codes",
    METADATA,
    Column("hash", LargeBinary, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("used_at", Instant),
    Index("ix_recovery_codes_user", "user_id"),
)

CHALLENGES = Table(
    "challenges",
    METADATA,
    Column("nonce", LargeBinary, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE")),
    Column("expires_at", Instant, nullable=False, index=True),
)
"""What is to come back once, for one purpose: challenges for passkeys, and logins that are half done."""
