"""The gateway's first schema."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant, Json
from chassis.migrations import big_id, create_chassis_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_chassis_v1(op)  # pyright: ignore[reportArgumentType] - alembic.op is a module proxy
    create_vms()
    create_operations()
    create_catalog()
    create_events()
    create_api_keys()


def create_vms() -> None:
    op.create_table(
        "vms",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("folded_name", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("task", sa.Text),
        sa.Column("flavor", sa.Text),
        sa.Column("image", sa.Text),
        sa.Column("server_id", sa.Text),
        sa.Column("addresses", Json, nullable=False),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("key_name", sa.Text),
        sa.Column("availability_zone", sa.Text),
        sa.Column("security_groups", Json, nullable=False),
        sa.Column("fault", Json),
        sa.Column("operation_id", sa.Uuid),
        sa.Column("operation_command", sa.Text),
        sa.Column("operations", sa.Integer, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("observed_at", Instant),
    )
    op.create_index("ix_vms_created", "vms", ["project_id", "created_at", "id"])
    op.create_index("ix_vms_updated", "vms", ["project_id", "updated_at", "id"])
    op.create_index("ix_vms_name", "vms", ["project_id", "name", "id"])
    op.create_index("ix_vms_state", "vms", ["project_id", "state"])
    op.create_table(
        "vm_tags",
        sa.Column("vm_id", sa.Uuid, primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
    )
    op.create_index("ix_vm_tags_tag", "vm_tags", ["project_id", "tag", "vm_id"])


def create_operations() -> None:
    op.create_table(
        "operations",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("vm_id", sa.Uuid, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("steps", Json, nullable=False),
        sa.Column("error", Json),
        sa.Column("blocked_on", sa.Text),
        sa.Column("cancel_asked_at", Instant),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("deadline_at", Instant, nullable=False),
        sa.Column("started_at", Instant),
        sa.Column("ended_at", Instant),
    )
    op.create_index("ix_operations_created", "operations", ["project_id", "created_at", "id"])
    op.create_index("ix_operations_vm", "operations", ["vm_id", "seq"])
    op.create_index("ix_operations_open", "operations", ["project_id", "state"])
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("operation_id", sa.Uuid, nullable=False),
        sa.Column("created_at", Instant, nullable=False, index=True),
    )


def create_catalog() -> None:
    op.create_table(
        "catalog",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("gone", sa.Boolean, nullable=False),
        sa.Column("said_at", Instant, nullable=False),
        sa.Column("item", Json, nullable=False),
    )
    op.create_index("ix_catalog_name", "catalog", ["account", "kind", "name", "id"])


def create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", big_id(), primary_key=True, autoincrement=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("vm_id", sa.Uuid, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("event", Json, nullable=False),
        sa.Column("kept_at", Instant, nullable=False, index=True),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_project", "events", ["project_id", "id"])


def create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("revoked_at", Instant),
    )
    op.create_index("ix_api_keys_project", "api_keys", ["project_id", "id"])
    active = sa.text("revoked_at IS NULL")
    op.create_index(
        "ix_api_keys_name",
        "api_keys",
        ["project_id", "name"],
        unique=True,
        postgresql_where=active,
        sqlite_where=active,
    )
