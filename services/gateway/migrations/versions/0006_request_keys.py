"""Keys by which callers sign their requests, and the nonces of requests that were signed."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "request_keys",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("holder_id", sa.Uuid, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("public_key", sa.LargeBinary),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("revoked_at", Instant),
    )
    op.create_index("ix_request_keys_created", "request_keys", ["project_id", "created_at", "id"])
    live = sa.text("revoked_at IS NULL")
    op.create_index(
        "ix_request_keys_name",
        "request_keys",
        ["project_id", "name"],
        unique=True,
        postgresql_where=live,
        sqlite_where=live,
    )
    op.create_table(
        "signature_nonces",
        sa.Column("key_id", sa.Uuid, primary_key=True),
        sa.Column("nonce", sa.Text, primary_key=True),
        sa.Column("until", Instant, nullable=False, index=True),
    )
