"""Bodies: slow ones, endless ones, and text that keeps a pattern busy."""

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import cast

import pytest

from contracts.topics import TOPICS
from services.gateway.context import Gateway
from tests.security.served import Served, request, served, status
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.world import ADMIN_KEY

KEY = f"X-API-Key: {ADMIN_KEY}"
JSON = "Content-Type: application/json"


@pytest.fixture
async def hurried(new_gateway: NewGateway) -> AsyncGenerator[Served]:
    """A gateway that waits for a body for a moment only."""
    gateway = await new_gateway(body_timeout=timedelta(seconds=0.3))
    async with served(gateway) as where:
        yield where


async def test_a_body_that_does_not_come_is_a_408_and_the_connection_ends(
    hurried: Served,
) -> None:
    head = request("/v1/vms", KEY, JSON, "Content-Length: 100", method="POST")
    answer = await hurried.say(head.replace(b"Connection: close\r\n", b""), b'{"name"')
    assert status(answer) == 408
    assert b'"code":"body_timeout"' in answer.replace(b" ", b"")
    assert b"connection: close" in answer.lower()


async def test_a_body_that_drips_is_a_408(hurried: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hurried.port)
    try:
        writer.write(request("/v1/vms", KEY, JSON, "Transfer-Encoding: chunked", method="POST"))
        async with asyncio.timeout(20):
            answered = asyncio.create_task(reader.read())
            with suppress(ConnectionError):
                while not answered.done():
                    writer.write(b"1\r\n \r\n")
                    await asyncio.sleep(0.05)
            assert status(await answered) == 408
    finally:
        writer.close()


async def test_a_stream_lives_longer_than_a_body_may_take(hurried: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hurried.port)
    try:
        writer.write(request("/v1/events", KEY))
        async with asyncio.timeout(20):
            await reader.readuntil(b"connected")
        await asyncio.sleep(0.6)
        assert not reader.at_eof()
    finally:
        writer.close()


async def test_a_chunked_body_without_end_is_a_413(gateway: Gateway) -> None:
    async with served(gateway) as where:
        head = request("/v1/vms", KEY, JSON, "Transfer-Encoding: chunked", method="POST")
        chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
        assert status(await where.say(head, *[chunk] * 64)) in {0, 413}


def patterns(schema: object) -> Iterator[str]:
    """Every pattern in a JSON schema."""
    if isinstance(schema, dict):
        for name, value in cast("dict[str, object]", schema).items():
            if name == "pattern" and isinstance(value, str):
                yield value
            else:
                yield from patterns(value)
    elif isinstance(schema, list):
        for each in cast("list[object]", schema):
            yield from patterns(each)


ROOMS = ("contracts", "chassis", "services.gateway")


def known_patterns() -> list[str]:
    """Those of every message, and every compiled one in what a gateway runs on."""
    bodies = [said for topic in TOPICS for said in topic.carries]
    found = {p for said in bodies for p in patterns(said.model_json_schema())}
    for name, module in list(sys.modules.items()):
        if name.startswith(ROOMS):
            held = cast("dict[str, object]", vars(module)).values()
            found |= {text for each in held if (text := _text(each))}
    return sorted(found)


def _text(value: object) -> str:
    """A compiled pattern's own text; nothing for anything else."""
    if not isinstance(value, re.Pattern):
        return ""
    text = cast("re.Pattern[str] | re.Pattern[bytes]", value).pattern
    return text.decode("latin-1") if isinstance(text, bytes) else text


EVIL = [
    "a" * 2_000,
    "a" * 2_000 + "!",
    "a." * 1_000 + "!",
    "." * 2_000,
    "-" * 2_000 + "\n",
    "_" * 2_000 + "\x00",
    " " * 2_000 + "x",
    "0" * 2_000 + "é",
    "aA0-_.:/" * 250 + "\n",
    "\n" * 2_000,
]


def try_out(pattern: str) -> None:
    """Python's engine, which backtracks, stands in for all that may read a published schema.

    What grows exponentially with the text never ends, and fails by the test's timeout.
    """
    compiled = re.compile(pattern)
    for text in EVIL:
        compiled.search(text)


@pytest.mark.parametrize("pattern", known_patterns())
def test_no_text_keeps_a_pattern_busy(pattern: str) -> None:
    try_out(pattern)


async def test_no_parameter_keeps_a_pattern_of_the_api_busy(gateway: Gateway) -> None:
    found = set(patterns(gateway.app.openapi()))
    assert found
    for pattern in found:
        try_out(pattern)
