"""Attacks go over the gateway that its unit tests use, on SQLite."""

import pytest

from tests.unit.gateway.conftest import (
    clients,
    clock,
    gateway,
    made_sqlite,
    new_gateway,
    sqlite_url,
    tables,
)

__all__ = ["clients", "clock", "gateway", "made_sqlite", "new_gateway", "sqlite_url", "tables"]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url
