"""A gateway over SQLite: what is tried here is the same on both; rows are kept apart in test_isolation."""

import pytest

from tests.unit.gateway.conftest import (
    clients,
    clock,
    gateway,
    made_postgres,
    made_sqlite,
    new_gateway,
    postgres_url,
    sqlite_url,
    tables,
)

__all__ = [
    "clients",
    "clock",
    "gateway",
    "made_postgres",
    "made_sqlite",
    "new_gateway",
    "postgres_url",
    "sqlite_url",
    "tables",
]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url
