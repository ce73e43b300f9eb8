"""Sync's first schema."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant, Json
from chassis.migrations import create_chassis_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_chassis_v1(op)  # pyright: ignore[reportArgumentType] - alembic.op is a module proxy
    create_vms()
    create_watches()
    create_accounts()
    create_catalog()


def create_vms() -> None:
    op.create_table(
        "vms",
        sa.Column("vm_id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("server_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("snapshot", Json),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("observed_at", Instant),
        sa.Column("look_due_at", Instant),
    )
    op.create_index("ix_vms_account", "vms", ["account", "vm_id"])
    op.create_index("ix_vms_server", "vms", ["account", "server_id"])
    op.create_index("ix_vms_look", "vms", ["account", "look_due_at"])


def create_watches() -> None:
    op.create_table(
        "watches",
        sa.Column("operation_id", sa.Uuid, primary_key=True),
        sa.Column("vm_id", sa.Uuid, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("called_at", Instant),
        sa.Column("observed_at", Instant),
        sa.Column("look_due_at", Instant),
        sa.Column("ends_by", Instant, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("traceparent", sa.Text, nullable=False),
    )
    op.create_index("ix_watches_vm", "watches", ["vm_id"])
    op.create_index("ix_watches_account", "watches", ["account", "state"])


def create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("since", Instant),
        sa.Column("swept_at", Instant),
        sa.Column("next_full_at", Instant),
        sa.Column("next_catalog_at", Instant),
        sa.Column("retry_at", Instant),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
    )


def create_catalog() -> None:
    op.create_table(
        "catalog",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("data", Json, nullable=False),
    )
