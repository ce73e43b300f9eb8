"""The gateway's tables: keys, what was asked, and the read model. Nothing refers across projects."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    RowMapping,
    Table,
    Text,
    Uuid,
    text,
)

from chassis.database import Instant, Json
from chassis.migrations import big_id

METADATA = MetaData()

VMS = Table(
    "vms",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("folded_name", Text, nullable=False),
    Column("description", Text),
    Column("state", Text, nullable=False),
    Column("task", Text),
    Column("flavor", Text),
    Column("image", Text),
    Column("server_id", Text),
    Column("addresses", Json, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("tags", Json, nullable=False),
    Column("key_name", Text),
    Column("availability_zone", Text),
    Column("security_groups", Json, nullable=False),
    Column("fault", Json),
    Column("operation_id", Uuid),
    Column("operation_command", Text),
    Column("operations", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("observed_at", Instant),
    Column("owner", Text, nullable=False, server_default=""),
    Index("ix_vms_owner", "project_id", "owner"),
    Index("ix_vms_created", "project_id", "created_at", "id"),
    Index("ix_vms_updated", "project_id", "updated_at", "id"),
    Index("ix_vms_name", "project_id", "name", "id"),
    Index("ix_vms_state", "project_id", "state", "created_at", "id"),
    Index(
        "ix_vms_there",
        "project_id",
        "created_at",
        "id",
        postgresql_where=text("state <> 'deleted'"),
        sqlite_where=text("state <> 'deleted'"),
    ),
)
"""`version` is sync's count of the VM's changes, `revision` the gateway's own (the ETag);
`operation_id` is the oldest operation that has not ended, `operations` how many there were. `owner`: who
made or imported it; empty where that is not known any more."""

VM_TAGS = Table(
    "vm_tags",
    METADATA,
    Column("vm_id", Uuid, primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Index("ix_vm_tags_tag", "project_id", "tag", "vm_id"),
)

OPERATIONS = Table(
    "operations",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("vm_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("command", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("steps", Json, nullable=False),
    Column("error", Json),
    Column("blocked_on", Text),
    Column("created_at", Instant, nullable=False),
    Column("deadline_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("stuck_at", Instant),
    Index("ix_operations_created", "project_id", "created_at", "id"),
    Index("ix_operations_vm", "vm_id", "seq"),
    Index("ix_operations_open", "project_id", "state"),
    Index(
        "ix_operations_under_way",
        "vm_id",
        "seq",
        postgresql_where=text("ended_at IS NULL"),
        sqlite_where=text("ended_at IS NULL"),
    ),
    Index(
        "ix_operations_stuck",
        "project_id",
        "stuck_at",
        postgresql_where=text("ended_at IS NULL"),
        sqlite_where=text("ended_at IS NULL"),
    ),
)
"""`seq` counts a VM's operations in the order in which they were accepted; an operation that has
not ended is stuck once `stuck_at` has passed."""

IDEMPOTENCY_KEYS = Table(
    "idempotency_keys",
    METADATA,
    Column("project_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("operation_id", Uuid, nullable=False),
    Column("created_at", Instant, nullable=False, index=True),
)

CATALOG = Table(
    "catalog",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("gone", Boolean, nullable=False),
    Column("said_at", Instant, nullable=False),
    Column("item", Json, nullable=False),
    Index("ix_catalog_name", "account", "kind", "name", "id"),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("id", big_id(), primary_key=True, autoincrement=True),
    Column("project_id", Text, nullable=False),
    Column("vm_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("event", Json, nullable=False),
    Column("kept_at", Instant, nullable=False, index=True),
    Index("ix_events_project", "project_id", "id"),
    sqlite_autoincrement=True,
)
"""What followers are told, in the order of `id`, which is also the order of commits."""

API_KEYS = Table(
    "api_keys",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("user_id", Uuid),
    Column("service_account_id", Uuid),
    Column("scopes", Json),
    Column("allowed_cidrs", Json),
    Column("expires_at", Instant),
    Column("last_used_at", Instant),
    Column("former_hash", LargeBinary, index=True),
    Column("former_until", Instant),
    Column("revoked_at", Instant),
    Index("ix_api_keys_project", "project_id", "id"),
    Index("ix_api_keys_service_account", "service_account_id"),
    Index("ix_api_keys_user", "user_id"),
    Index(
        "ix_api_keys_name",
        "project_id",
        "name",
        unique=True,
        postgresql_where=text("revoked_at IS NULL"),
        sqlite_where=text("revoked_at IS NULL"),
    ),
)
"""`user_id` or `service_account_id`: whose it is; it can do no more than they can. `former_hash`: of the secret
before the last rotation, which works until `former_until`."""

DRIFT = Table(
    "drift",
    METADATA,
    Column("vm_id", Uuid, primary_key=True),
    Column("field", Text, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("project_id", Text, nullable=False),
    Column("wanted", Json),
    Column("found", Json),
    Column("choice", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("operation_id", Uuid),
    Index("ix_drift_since", "project_id", "since", "id"),
)
"""Fields that are not as Hostler left them; a row goes when they are again, or what is found is
accepted. `operation_id`: the latest command that is to correct it."""

DRIFT_CHOICES = Table(
    "drift_choices",
    METADATA,
    Column("vm_id", Uuid, primary_key=True),
    Column("field", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("choice", Text, nullable=False),
)
"""What follows from a VM's drift; the field `*` stands for all that have no row."""

DRIFT_CORRECTIONS = Table(
    "drift_corrections",
    METADATA,
    Column("vm_id", Uuid, primary_key=True),
    Column("field", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("at", Instant, nullable=False),
)
"""When fields were corrected by themselves of late: not for ever against somebody else."""

ORPHANS = Table(
    "orphans",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("vm_id", Uuid),
    Column("reason", Text, nullable=False),
    Column("proven", Boolean, nullable=False),
    Column("found_at", Instant, nullable=False),
    Column("gone_at", Instant),
    Column("said_at", Instant, nullable=False),
    Column("removing_since", Instant),
    Column("removal_attempts", Integer),
    Index("ix_orphans_found", "account", "found_at", "id"),
)

UNMANAGED = Table(
    "unmanaged",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("folded_name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("vm", Json, nullable=False),
    Column("vm_id", Uuid),
    Column("gone_at", Instant),
    Column("said_at", Instant, nullable=False),
    Index("ix_unmanaged_name", "account", "name", "id"),
)
"""Servers of an account that Hostler does not know, as sync shows them (`vm`: a snapshot); they
are no project's. `vm_id`: the VM as which one was last asked to be taken in."""

IMPORTS = Table(
    "imports",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("operations", Json, nullable=False),
    Column("created_at", Instant, nullable=False, index=True),
)
"""The operations that one request with an idempotency key led to, in their order."""

DEAD_LETTERS = Table(
    "dead_letters",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("consumer", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("key", Text),
    Column("headers", Json, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("buried_at", Instant, nullable=False),
    Column("replays", Integer, nullable=False),
    Column("replayed_at", Instant),
    Index("ix_dead_letters_buried", "buried_at", "id"),
    Index("ix_dead_letters_project", "project_id", "buried_at", "id"),
)
"""`project_id` and `type` as the record's headers claim them; empty where they do not."""

CANARIES = Table(
    "canaries",
    METADATA,
    Column("station", Text, primary_key=True),
    Column("sent_at", Instant, nullable=False),
    Column("passed_at", Instant, nullable=False),
)
"""The newest canary that came past a station: the outbox that it begins in, or a service."""


def columns(row: Row[Any]) -> RowMapping:
    """A row's values by the names of its columns."""
    return row._mapping  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - public, says SQLAlchemy


def values(row: Row[Any]) -> dict[str, Any]:
    """The same as a dict of its own."""
    return dict(zip(row._fields, row, strict=True))  # pyright: ignore[reportPrivateUsage] - public
