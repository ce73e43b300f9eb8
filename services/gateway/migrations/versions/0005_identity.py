"""Users, sessions, links, mail and signing keys; what API keys may do, from where and until when."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant, Json

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    create_users()
    create_sessions()
    create_links()
    create_signing_keys()
    extend_api_keys()


def create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("folded_email", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("password", sa.Text),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("locked_until", Instant),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("logged_in_at", Instant),
    )
    op.create_index("ix_users_created", "users", ["created_at", "id"])
    op.create_table(
        "memberships",
        sa.Column(
            "user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("project_id", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("since", Instant, nullable=False),
    )
    op.create_index("ix_memberships_project", "memberships", ["project_id", "user_id"])


def create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column(
            "user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False, index=True),
        sa.Column("address", sa.Text),
        sa.Column("client", sa.Text),
        sa.Column("refreshed_at", Instant, nullable=False),
        sa.Column("closed_at", Instant),
    )
    op.create_index("ix_sessions_user", "sessions", ["user_id", "id"])
    op.create_table(
        "refresh_tokens",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column(
            "session_id", sa.Uuid, sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("expires_at", Instant, nullable=False),
        sa.Column("used_at", Instant),
    )
    op.create_index("ix_refresh_tokens_session", "refresh_tokens", ["session_id"])


def create_links() -> None:
    op.create_table(
        "links",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column(
            "user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("made_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False, index=True),
        sa.Column("used_at", Instant),
    )
    op.create_index("ix_links_user", "links", ["user_id", "purpose"])
    op.create_table(
        "mail",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("folded_email", sa.Text, nullable=False),
        sa.Column("user_id", sa.Uuid),
        sa.Column("name", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", Instant, nullable=False, index=True),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_index("ix_mail_once", "mail", ["kind", "folded_email"], unique=True)


def create_signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("public", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("made_at", Instant, nullable=False),
        sa.Column("active_at", Instant, nullable=False),
        sa.Column("ends_at", Instant),
    )


def extend_api_keys() -> None:
    op.add_column("api_keys", sa.Column("user_id", sa.Uuid))
    op.add_column("api_keys", sa.Column("scopes", Json))
    op.add_column("api_keys", sa.Column("allowed_cidrs", Json))
    op.add_column("api_keys", sa.Column("expires_at", Instant))
    op.add_column("api_keys", sa.Column("last_used_at", Instant))
    op.add_column("api_keys", sa.Column("former_hash", sa.LargeBinary))
    op.add_column("api_keys", sa.Column("former_until", Instant))
    op.create_index("ix_api_keys_former_hash", "api_keys", ["former_hash"])
