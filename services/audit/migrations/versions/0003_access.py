"""By which request a row came about, and which commands still wait for their outcome."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for name in ("address", "client", "credential", "permission"):
        op.add_column("ledger", sa.Column(name, sa.Text, nullable=False, server_default=""))
    for name in ("address", "credential", "permission"):
        where = sa.text(f"{name} <> ''")
        op.create_index(
            f"ix_ledger_{name}",
            "ledger",
            [name, "time", "id"],
            postgresql_where=where,
            sqlite_where=where,
        )
    create_intents()


def create_intents() -> None:
    op.create_table(
        "intents",
        sa.Column("operation_id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("asked_at", Instant),
        sa.Column("due_at", Instant),
        sa.Column("ended_at", Instant),
        sa.Column("noted_at", Instant, nullable=False),
    )
    op.create_index("ix_intents_noted_at", "intents", ["noted_at"])
    where = sa.text("due_at IS NOT NULL")
    op.create_index(
        "ix_intents_due", "intents", ["due_at"], postgresql_where=where, sqlite_where=where
    )
    op.create_table(
        "followed",
        sa.Column("chain", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
    )
