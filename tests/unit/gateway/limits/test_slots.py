"""Answers that are held open: a caller has so many at a time, and gets them back however they end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Message

from chassis.problems import Refusal
from services.gateway.context import Gateway
from services.gateway.limits.slots import Held, Slots
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, CREATE, hear_catalog


@asynccontextmanager
async def following(gateway: Gateway) -> AsyncGenerator[int]:
    """An open GET /v1/events, hung up at the end; its status."""
    begun: asyncio.Queue[int] = asyncio.Queue()
    hung_up, asked = asyncio.Event(), False

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            begun.put_nowait(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/events",
        "raw_path": b"/v1/events",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"x-api-key", ADMIN_KEY.encode()), (b"host", b"gateway")],
        "client": ("127.0.0.1", 1),
        "server": ("gateway", 80),
        "state": {},
    }
    call = asyncio.create_task(gateway.app(scope, receive, send))
    try:
        yield await begun.get()
    finally:
        hung_up.set()
        gateway.service.stopping.set()
        await call
        gateway.service.stopping.clear()


async def test_a_stream_too_many_is_refused_until_one_ends(new_gateway: NewGateway) -> None:
    gateway = await new_gateway(max_streams=1)
    for _ in range(2):
        async with following(gateway) as first:
            assert first == 200
            async with client(gateway, ADMIN_KEY) as caller:
                answer = await caller.get("/v1/events")
            assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
            assert int(answer.headers["Retry-After"]) > 0


async def test_a_wait_too_many_is_refused_and_commands_nothing(new_gateway: NewGateway) -> None:
    gateway = await new_gateway(max_waits=1)
    await hear_catalog(gateway, *CATALOG)
    prefer = {"Prefer": "wait=30"}
    async with client(gateway, ADMIN_KEY) as caller:
        waiting = asyncio.create_task(caller.post("/v1/vms", json=CREATE, headers=prefer))
        while not gateway.endings._waiting:  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0.01)
        refused = await caller.post("/v1/vms", json=CREATE, headers=prefer)
        plain = await caller.get("/v1/vms")
        gateway.service.stopping.set()
        gateway.endings._told.ring()  # pyright: ignore[reportPrivateUsage]
        assert (await waiting).status_code == 202
        gateway.service.stopping.clear()
        assert refused.status_code == 429
        assert len(plain.json()["items"]) == 1
        again = await caller.post("/v1/vms", json=CREATE, headers={"Prefer": "wait=0"})
    assert again.status_code == 202


def test_a_slot_is_one_callers_and_of_one_kind() -> None:
    slots = Slots({Held.WAIT: 1, Held.STREAM: 1})
    give_back = slots.take(Held.WAIT, "demo/key:a")
    slots.take(Held.WAIT, "demo/key:b")
    slots.take(Held.STREAM, "demo/key:a")
    with pytest.raises(Refusal):
        slots.take(Held.WAIT, "demo/key:a")
    give_back()
    slots.take(Held.WAIT, "demo/key:a")
