"""Orphans are kept in mind until they are gone: since when their end is asked for."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("orphans", sa.Column("removing_since", Instant))
