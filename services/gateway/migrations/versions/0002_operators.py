"""What operators look at: stuck operations, drift, orphans and unmanaged servers."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    pass
