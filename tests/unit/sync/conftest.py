"""Sync in a world of its own, on both databases."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.sync.world import SyncWorld, opened


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[SyncWorld]:
    async with opened(database_url) as made:
        yield made
