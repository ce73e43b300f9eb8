"""What operators look at: stuck operations, drift, orphans and unmanaged servers."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant, Json

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    add_stuck_at()
    create_drift()
    create_inventory()
    create_imports()


def add_stuck_at() -> None:
    op.add_column("operations", sa.Column("stuck_at", Instant))
    op.execute("UPDATE operations SET stuck_at = deadline_at WHERE ended_at IS NULL")
    is_open = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_operations_stuck",
        "operations",
        ["project_id", "stuck_at"],
        postgresql_where=is_open,
        sqlite_where=is_open,
    )


def create_drift() -> None:
    op.create_table(
        "drift",
        sa.Column("vm_id", sa.Uuid, primary_key=True),
        sa.Column("field", sa.Text, primary_key=True),
        sa.Column("id", sa.Uuid, nullable=False, unique=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("wanted", Json),
        sa.Column("found", Json),
        sa.Column("choice", sa.Text, nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("operation_id", sa.Uuid),
    )
    op.create_index("ix_drift_since", "drift", ["project_id", "since", "id"])
    op.create_table(
        "drift_choices",
        sa.Column("vm_id", sa.Uuid, primary_key=True),
        sa.Column("field", sa.Text, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("choice", sa.Text, nullable=False),
    )
    op.create_table(
        "drift_corrections",
        sa.Column("vm_id", sa.Uuid, primary_key=True),
        sa.Column("field", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("at", Instant, nullable=False),
    )


def create_inventory() -> None:
    op.create_table(
        "orphans",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("vm_id", sa.Uuid),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("proven", sa.Boolean, nullable=False),
        sa.Column("found_at", Instant, nullable=False),
        sa.Column("gone_at", Instant),
        sa.Column("said_at", Instant, nullable=False),
    )
    op.create_index("ix_orphans_found", "orphans", ["account", "found_at", "id"])
    op.create_table(
        "unmanaged",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("folded_name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("vm", Json, nullable=False),
        sa.Column("vm_id", sa.Uuid),
        sa.Column("gone_at", Instant),
        sa.Column("said_at", Instant, nullable=False),
    )
    op.create_index("ix_unmanaged_name", "unmanaged", ["account", "name", "id"])


def create_imports() -> None:
    op.create_table(
        "imports",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("operations", Json, nullable=False),
        sa.Column("created_at", Instant, nullable=False, index=True),
    )
