"""Operations lose a column that nobody read: when a cancel was asked stands among their steps."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.drop_column("operations", "cancel_asked_at")
