"""The ledger by months and append-only, signed checkpoints, runs of verification."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant, Json
from services.audit.guards import (
    GUARD_FUNCTION,
    guard_statements,
    partition_statements,
    sqlite_guard_statements,
)

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    widen_heads()
    create_checkpoints()
    create_verifications()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(GUARD_FUNCTION)
        partition_ledger()
        run(guard_statements("ledger"), guard_statements("checkpoints"))
    else:
        run(sqlite_guard_statements("ledger"), sqlite_guard_statements("checkpoints"))


def run(*groups: list[str]) -> None:
    for statement in [each for group in groups for each in group]:
        op.execute(statement)


def widen_heads() -> None:
    op.add_column("heads", sa.Column("recorded_at", Instant))
    op.add_column(
        "heads", sa.Column("signed_position", sa.BigInteger, nullable=False, server_default="0")
    )
    op.add_column("heads", sa.Column("signed_at", Instant))
    op.execute(
        "UPDATE heads SET recorded_at = (SELECT max(l.recorded_at) FROM ledger l"
        " WHERE l.chain = heads.chain)"
    )


def create_checkpoints() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("chain", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("signed", sa.Text, nullable=False),
    )


def create_verifications() -> None:
    op.create_table(
        "verifications",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("full", sa.Boolean, nullable=False),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("asked_at", Instant, nullable=False),
        sa.Column("started_at", Instant),
        sa.Column("ended_at", Instant),
        sa.Column("chains", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("of_rows", sa.BigInteger, nullable=False),
        sa.Column("first_broken", Json),
    )
    op.create_index("ix_verifications_asked", "verifications", ["asked_at", "id"])


def partition_ledger() -> None:
    """What there is becomes the first partition as it stands: no row is written again.

    Keys stay with each partition, as those of the whole would have to hold `recorded_at`.
    """
    end = op.get_bind().scalar(
        sa.text("SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month'")
    )
    assert end is not None  # noqa: S101 - a query without FROM has one row
    run(
        [
            "ALTER TABLE ledger RENAME TO ledger_first",
            "ALTER TABLE ledger_first DROP CONSTRAINT ledger_pkey",
            "ALTER TABLE ledger_first DROP CONSTRAINT ledger_chain_position_key",
            "ALTER TABLE ledger_first DROP CONSTRAINT ledger_message_id_key",
            *[
                f"ALTER INDEX ix_ledger_{name} RENAME TO ix_ledger_first_{name}"
                for name in ("time", "vm", "operation")
            ],
            (
                "CREATE TABLE ledger (LIKE ledger_first INCLUDING DEFAULTS)"
                " PARTITION BY RANGE (recorded_at)"
            ),
            "ALTER SEQUENCE ledger_id_seq OWNED BY ledger.id",
            "CREATE INDEX ix_ledger_time ON ledger (project_id, time, id)",
            "CREATE INDEX ix_ledger_vm ON ledger (vm_id, time, id)",
            "CREATE INDEX ix_ledger_operation ON ledger (operation_id, time, id)",
            (
                "ALTER TABLE ledger ATTACH PARTITION ledger_first"
                f" FOR VALUES FROM (MINVALUE) TO ('{end:%Y-%m-%d} 00:00:00+00')"
            ),
            "CREATE TABLE ledger_default PARTITION OF ledger DEFAULT",
        ],
        partition_statements("ledger_first"),
        partition_statements("ledger_default"),
    )
