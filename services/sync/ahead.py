"""Asks for the next page of a list while this one is worked on."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

PageT = TypeVar("PageT")


async def ahead(pages: AsyncIterator[PageT]) -> AsyncGenerator[PageT]:
    """The pages in order, one of them ahead. A failure comes when its page's turn has come."""
    following = asyncio.ensure_future(anext(pages, None))
    try:
        while (page := await following) is not None:
            following = asyncio.ensure_future(anext(pages, None))
            yield page
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
