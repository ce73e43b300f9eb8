"""Dead letters, to be shown and tried again; canaries."""

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    pass
