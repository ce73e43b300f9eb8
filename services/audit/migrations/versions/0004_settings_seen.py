"""What the service was last told from its environment."""

from alembic import op

from chassis.migrations import create_chassis_v2

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    create_chassis_v2(op)  # pyright: ignore[reportArgumentType] - alembic.op is a module proxy
