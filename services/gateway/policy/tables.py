"""Tables of permission: what projects choose, and VMs that are shared."""

from sqlalchemy import Boolean, Column, ForeignKeyConstraint, Index, Table, Text, Uuid

from chassis.database import Instant
from services.gateway.identity.tables import MEMBERSHIPS
from services.gateway.tables import METADATA

PROJECTS = Table(
    "projects",
    METADATA,
    Column("project_id", Text, primary_key=True),
    Column("owner_only", Boolean, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("updated_by", Text, nullable=False),
)
"""What a project has chosen; one without a row is as projects are by default."""

GRANTS = Table(
    "grants",
    METADATA,
    Column("vm_id", Uuid, primary_key=True),
    Column("user_id", Uuid, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    ForeignKeyConstraint(
        ["user_id", "project_id"],
        [MEMBERSHIPS.c.user_id, MEMBERSHIPS.c.project_id],
        ondelete="CASCADE",
    ),
    Index("ix_grants_user", "project_id", "user_id", "vm_id"),
    Index("ix_grants_created", "vm_id", "created_at", "user_id"),
)
"""VMs that are shared with a member of their project; it ends with the membership."""
