"""Second factors, recovery codes, challenges; how the user of a session showed that it is them."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Instant, Json

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column(
        "users", sa.Column("factor_failures", sa.Integer, nullable=False, server_default="0")
    )
    op.add_column("users", sa.Column("factor_locked_until", Instant))
    extend_sessions()
    create_factors()
    create_recovery_codes()
    create_challenges()


def extend_sessions() -> None:
    op.add_column("sessions", sa.Column("amr", Json, nullable=False, server_default='["pwd"]'))
    op.add_column("sessions", sa.Column("authenticated_at", Instant))
    op.add_column("sessions", sa.Column("factor", sa.Text))


def create_factors() -> None:
    op.create_table(
        "factors",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column(
            "user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("confirmed_at", Instant),
        sa.Column("last_used_at", Instant),
        sa.Column("sealed", sa.LargeBinary),
        sa.Column("last_step", sa.BigInteger),
        sa.Column("credential_id", sa.LargeBinary, unique=True),
        sa.Column("public_key", sa.LargeBinary),
        sa.Column("sign_count", sa.BigInteger),
    )
    op.create_index("ix_factors_name", "factors", ["user_id", "name"], unique=True)


def create_recovery_codes() -> None:
    op.create_table(
        "recovery_codes",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column(
            "user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("made_at", Instant, nullable=False),
        sa.Column("used_at", Instant),
    )
    op.create_index("ix_recovery_codes_user", "recovery_codes", ["user_id"])


def create_challenges() -> None:
    op.create_table(
        "challenges",
        sa.Column("nonce", sa.LargeBinary, primary_key=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE")),
        sa.Column("expires_at", Instant, nullable=False, index=True),
    )
