"""Owners of VMs, what projects choose, and grants."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant

revision = "0009"
down_revision = "0008"

_OWNERS = """UPDATE vms SET owner = COALESCE((SELECT actor FROM operations
WHERE operations.vm_id = vms.id AND operations.seq = 1
AND operations.command IN ('vm.create.v1', 'vm.import.v1')), '')"""


def upgrade() -> None:
    op.add_column("vms", sa.Column("owner", sa.Text, nullable=False, server_default=""))
    op.execute(_OWNERS)
    op.create_index("ix_vms_owner", "vms", ["project_id", "owner"])
    op.create_table(
        "projects",
        sa.Column("project_id", sa.Text, primary_key=True),
        sa.Column("owner_only", sa.Boolean, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("updated_by", sa.Text, nullable=False),
    )
    op.create_table(
        "grants",
        sa.Column("vm_id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id", "project_id"],
            ["memberships.user_id", "memberships.project_id"],
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_grants_user", "grants", ["project_id", "user_id", "vm_id"])
    op.create_index("ix_grants_created", "grants", ["vm_id", "created_at", "user_id"])
