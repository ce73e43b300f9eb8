"""Identities from elsewhere, the roles that claims give, service accounts; who owns an API key."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant, Json

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    create_identities()
    create_service_accounts()
    op.add_column("api_keys", sa.Column("service_account_id", sa.Uuid))
    op.create_index("ix_api_keys_service_account", "api_keys", ["service_account_id"])
    op.create_index("ix_api_keys_user", "api_keys", ["user_id"])


def theirs(table: str, **options: Any) -> sa.Column[Any]:
    key = sa.ForeignKey(f"{table}s.id", ondelete="CASCADE")
    return sa.Column(f"{table}_id", sa.Uuid, key, **options)


def create_identities() -> None:
    op.create_table(
        "identities",
        sa.Column("issuer", sa.Text, primary_key=True),
        sa.Column("subject", sa.Text, primary_key=True),
        theirs("user", nullable=False),
        sa.Column("linked_at", Instant, nullable=False),
        sa.Column("used_at", Instant, nullable=False),
    )
    op.create_index("ix_identities_user", "identities", ["user_id"])
    op.create_table(
        "ruled_roles",
        theirs("user", primary_key=True),
        sa.Column("project_id", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("given", sa.Text),
    )
    op.create_table(
        "provider_sessions",
        theirs("session", primary_key=True),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("sid", sa.Text),
    )
    op.create_index("ix_provider_sessions", "provider_sessions", ["issuer", "subject"])
    op.create_table(
        "used_once",
        sa.Column("issuer", sa.Text, primary_key=True),
        sa.Column("token", sa.Text, primary_key=True),
        sa.Column("until", Instant, nullable=False, index=True),
    )


def create_service_accounts() -> None:
    op.create_table(
        "service_accounts",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("scopes", Json),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("prefix", sa.Text),
        sa.Column("hash", sa.LargeBinary),
        sa.Column("former_hash", sa.LargeBinary),
        sa.Column("former_until", Instant),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("locked_until", Instant),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("last_used_at", Instant),
    )
    op.create_index(
        "ix_service_accounts_created", "service_accounts", ["project_id", "created_at", "id"]
    )
    op.create_index(
        "ix_service_accounts_name", "service_accounts", ["project_id", "name"], unique=True
    )
