"""A gateway as the tests of policies have it: over SQLite, and in its own role over Postgres."""

from tests.unit.gateway.conftest import (
    bound_url,
    clients,
    clock,
    gateway,
    made_bound,
    made_sqlite,
    new_gateway,
    sqlite_url,
    tables,
)
from tests.unit.gateway.policy.conftest import database_url

__all__ = [
    "bound_url",
    "clients",
    "clock",
    "database_url",
    "gateway",
    "made_bound",
    "made_sqlite",
    "new_gateway",
    "sqlite_url",
    "tables",
]
