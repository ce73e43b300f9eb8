"""A gateway over SQLite and, in its own role, over Postgres, where rows are kept apart beneath queries."""

import pytest

from tests.unit.gateway.conftest import (
    bound_url,
    clients,
    clock,
    gateway,
    made_bound,
    made_postgres,
    made_sqlite,
    new_gateway,
    postgres_url,
    sqlite_url,
    tables,
)

__all__ = [
    "bound_url",
    "clients",
    "clock",
    "gateway",
    "made_bound",
    "made_postgres",
    "made_sqlite",
    "new_gateway",
    "postgres_url",
    "sqlite_url",
    "tables",
]


@pytest.fixture(params=["sqlite", "bound"])
def database_url(request: pytest.FixtureRequest) -> str:
    """What is tried here holds in both, and nothing in it needs more than the service's own role."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
