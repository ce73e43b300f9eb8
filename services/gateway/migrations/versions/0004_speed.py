"""Indexes that the benchmarks reward."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    there = sa.text("state <> 'deleted'")
    op.create_index(
        "ix_vms_there",
        "vms",
        ["project_id", "created_at", "id"],
        postgresql_where=there,
        sqlite_where=there,
    )
    op.drop_index("ix_vms_state", "vms")
    op.create_index("ix_vms_state", "vms", ["project_id", "state", "created_at", "id"])
    is_open = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_operations_under_way",
        "operations",
        ["vm_id", "seq"],
        postgresql_where=is_open,
        sqlite_where=is_open,
    )
