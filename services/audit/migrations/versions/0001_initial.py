"""Audit's first schema."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant
from chassis.migrations import big_id, create_chassis_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_chassis_v1(op)  # pyright: ignore[reportArgumentType] - alembic.op is a module proxy
    create_ledger()
    op.create_table(
        "heads",
        sa.Column("chain", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )


def create_ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("id", big_id(), primary_key=True, autoincrement=True),
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("message_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("time", Instant, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("vm_id", sa.Uuid),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("operation_id", sa.Uuid),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("previous_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.UniqueConstraint("chain", "position"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ledger_time", "ledger", ["project_id", "time", "id"])
    op.create_index("ix_ledger_vm", "ledger", ["vm_id", "time", "id"])
    op.create_index("ix_ledger_operation", "ledger", ["operation_id", "time", "id"])
