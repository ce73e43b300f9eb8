"""What accounts hold besides VMs; a digest per VM; a server is one VM's at a time."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant

revision = "0002"
down_revision = "0001"
_LIVES = sa.text("state <> 'deleted' AND server_id IS NOT NULL")


def upgrade() -> None:
    op.add_column("vms", sa.Column("digest", sa.Text))
    op.add_column("vms", sa.Column("idle", sa.Boolean))
    op.add_column("accounts", sa.Column("next_inventory_at", Instant))
    op.create_index(
        "uq_vms_server",
        "vms",
        ["account", "server_id"],
        unique=True,
        postgresql_where=_LIVES,
        sqlite_where=_LIVES,
    )
    create_servers()
    create_orphans()


def create_servers() -> None:
    op.create_table(
        "former_servers",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("server_id", sa.Text, primary_key=True),
        sa.Column("vm_id", sa.Uuid, nullable=False),
    )
    op.create_table(
        "strangers",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("server_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
    )


def create_orphans() -> None:
    op.create_table(
        "orphans",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("vm_id", sa.Uuid),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("proven", sa.Boolean, nullable=False),
        sa.Column("found_at", Instant, nullable=False),
        sa.Column("told", sa.Boolean, nullable=False),
    )
