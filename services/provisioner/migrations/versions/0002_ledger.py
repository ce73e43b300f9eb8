"""lanes per account, creates made anew, the ledger, orphans"""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _operations()
    op.add_column("servers", sa.Column("task", sa.Text))
    op.add_column("servers", sa.Column("since", Instant))
    op.create_index("servers_by_id", "servers", ["account", "server_id"])
    _ledger()
    _orphans()


def _operations() -> None:
    for name, kind, default in (
        ("anew", sa.Boolean(), sa.false()),
        ("rebuilds", sa.Integer(), sa.text("0")),
        ("leaving", sa.Boolean(), sa.false()),
    ):
        column = sa.Column(name, kind, nullable=False, server_default=default)
        op.add_column("operations", column)
    op.drop_index("operations_due", "operations")
    for name, columns, condition in (
        ("operations_due", ["account", "due_at", "seq"], "due_at IS NOT NULL"),
        ("operations_blocked", ["account", "seq"], "blocked_on IS NOT NULL"),
    ):
        where = sa.text(condition)
        op.create_index(name, "operations", columns, postgresql_where=where, sqlite_where=where)


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("vm_id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("resource_id", sa.Text),
        sa.Column("operation_id", sa.Uuid, nullable=False),
        sa.Column("intended_at", Instant, nullable=False),
        sa.Column("made_at", Instant),
        sa.Column("gone_at", Instant),
    )
    op.create_index("ledger_of_vm", "ledger", ["vm_id"])
    op.create_index("ledger_gone", "ledger", ["gone_at"])


def _orphans() -> None:
    op.create_table(
        "orphans",
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("resource_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("vm_id", sa.Uuid),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("proven", sa.Boolean, nullable=False),
        sa.Column("found_at", Instant, nullable=False),
        sa.Column("due_at", Instant),
        sa.Column("lease_token", sa.Uuid),
        sa.Column("attempts", sa.Integer, nullable=False),
    )
    op.create_index("orphans_due", "orphans", ["due_at"])
