"""What reading ahead promises: the same pages in order, the same failure, nothing left running."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from services.sync.ahead import ahead


async def pages(
    count: int, asked: list[int], error: Exception | None = None
) -> AsyncGenerator[int]:
    for n in range(count):
        asked.append(n)
        yield n
    if error is not None:
        raise error


async def test_pages_come_in_order_each_asked_for_while_the_one_before_is_worked_on() -> None:
    asked: list[int] = []
    taken: list[tuple[int, int]] = []
    async for page in ahead(pages(3, asked)):
        await asyncio.sleep(0)
        taken.append((page, len(asked)))
    assert taken == [(0, 2), (1, 3), (2, 3)]


async def test_a_failure_comes_after_the_pages_before_it() -> None:
    taken: list[int] = []
    with pytest.raises(ConnectionError, match="lost"):
        async for page in ahead(pages(2, [], ConnectionError("lost"))):
            taken.append(page)  # noqa: PERF401 - what came before the failure counts
    assert taken == [0, 1]


async def test_who_stops_early_leaves_nothing_running() -> None:
    asked: list[int] = []
    reading = ahead(pages(9, asked))
    assert await anext(reading) == 0
    await reading.aclose()
    assert len(asked) <= 2
