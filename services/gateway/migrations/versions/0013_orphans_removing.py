"""Orphans show since when the cloud is asked to remove them, and how often it was."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("orphans", sa.Column("removing_since", Instant))
    op.add_column("orphans", sa.Column("removal_attempts", sa.Integer))
