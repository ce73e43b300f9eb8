"""Limits are counted without a database: SQLite is enough."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.redis import LocalRedis, find_redis


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[LocalRedis]:
    """A real Redis of this test's own."""
    if find_redis() is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    started = LocalRedis(tmp_path / "redis")
    try:
        started.start()
        yield started
    finally:
        started.stop()
