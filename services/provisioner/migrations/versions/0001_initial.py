"""operations, servers, and the chassis' tables"""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant, Json
from chassis.migrations import big_id, create_chassis_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_chassis_v1(op)  # pyright: ignore[reportArgumentType] - alembic's proxy of Operations
    _operations()
    _servers()


def _operations() -> None:
    op.create_table(
        "operations",
        sa.Column("seq", big_id(), primary_key=True, autoincrement=True),
        sa.Column("id", sa.Uuid, nullable=False, unique=True),
        sa.Column("vm_id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("traceparent", sa.Text, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("bugs", sa.Integer, nullable=False),
        sa.Column("due_at", Instant),
        sa.Column("deadline_at", Instant, nullable=False),
        sa.Column("lease_token", sa.Uuid),
        sa.Column("asked_at", Instant),
        sa.Column("called_at", Instant),
        sa.Column("server_id", sa.Text),
        sa.Column("cloud_request_id", sa.Text),
        sa.Column("error", Json),
        sa.Column("blocked_on", sa.Text),
        sa.Column("doubts", sa.Integer, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("compensating", sa.Boolean, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("ended_at", Instant),
    )
    is_open = sa.text("ended_at IS NULL")
    for name, columns in {
        "operations_open_of_vm": ["vm_id", "seq"],
        "operations_open_by_deadline": ["deadline_at"],
    }.items():
        op.create_index(name, "operations", columns, postgresql_where=is_open, sqlite_where=is_open)
    op.create_index("operations_due", "operations", ["due_at", "seq"])
    op.create_index("operations_ended", "operations", ["ended_at"])


def _servers() -> None:
    op.create_table(
        "servers",
        sa.Column("vm_id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("server_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("observed_at", Instant),
    )
