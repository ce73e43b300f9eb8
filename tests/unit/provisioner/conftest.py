"""The bench on both databases."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.provisioner.world import Bench


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    made = await Bench(database_url).open()
    yield made
    await made.close()
