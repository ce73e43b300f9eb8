"""Dead letters, to be shown and tried again; canaries."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant, Json

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("consumer", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("headers", Json, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("buried_at", Instant, nullable=False),
        sa.Column("replays", sa.Integer, nullable=False),
        sa.Column("replayed_at", Instant),
    )
    op.create_index("ix_dead_letters_buried", "dead_letters", ["buried_at", "id"])
    op.create_index("ix_dead_letters_project", "dead_letters", ["project_id", "buried_at", "id"])
    op.create_table(
        "canaries",
        sa.Column("station", sa.Text, primary_key=True),
        sa.Column("sent_at", Instant, nullable=False),
        sa.Column("passed_at", Instant, nullable=False),
    )
