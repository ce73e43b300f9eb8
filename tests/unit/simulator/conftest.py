"""A simulated cloud without a process: a world whose clock stands still, reached over ASGI."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx
import pytest

from simulator.app import build
from simulator.clock import HandClock
from simulator.seed import named_id
from simulator.world import World

LATEST = {"OpenStack-API-Version": "compute 2.96"}


class Caller:
    """Calls the services as one tenant."""

    def __init__(self, world: World, http: httpx.AsyncClient, token: str) -> None:
        self.world = world
        self.http = http
        self.headers = {"X-Auth-Token": token, **LATEST}

    async def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> httpx.Response:
        """One request to Nova."""
        sent = {**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        url = path if path.startswith("/control") else "/compute/v2.1" + path
        return await self.http.request(method, url, json=body, headers=sent)

    async def create(self, **fields: object) -> str:
        """A server that begins to build."""
        server = {
            "name": "vm",
            "imageRef": named_id("image", "tiny-raw"),
            "flavorRef": "1",
            "networks": [{"uuid": named_id("network", "private")}],
            **fields,
        }
        answer = await self.call("POST", "/servers", {"server": server})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["server"]["id"])

    async def active(self, clock: HandClock, **fields: object) -> str:
        """A server that has been built."""
        server_id = await self.create(**fields)
        clock.turn(30)
        assert (await self.show(server_id))["status"] == "ACTIVE"
        return server_id

    async def show(self, server_id: str) -> Mapping[str, Any]:
        """The server; empty where it is not found."""
        return (await self.call("GET", f"/servers/{server_id}")).json().get("server", {})

    async def act(self, server_id: str, action: Mapping[str, object]) -> httpx.Response:
        """POST one action."""
        return await self.call("POST", f"/servers/{server_id}/action", action)

    async def ids(self, query: str = "") -> list[str]:
        """The ids in GET /servers."""
        found = (await self.call("GET", f"/servers?{query}")).json()["servers"]
        return [server["id"] for server in found]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def world(clock: HandClock) -> World:
    return World(clock=clock)


@pytest.fixture
async def http(world: World) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build(world))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
        yield client


def _caller(world: World, http: httpx.AsyncClient, name: str) -> Caller:
    user = world.identity.user(name)
    project = world.identity.project_id(name)
    assert user is not None
    assert project is not None
    return Caller(world, http, world.identity.issue(user, project, world.clock.now()).id)


@pytest.fixture
def demo(world: World, http: httpx.AsyncClient) -> Caller:
    return _caller(world, http, "demo")


@pytest.fixture
def other(world: World, http: httpx.AsyncClient) -> Caller:
    return _caller(world, http, "other")


@pytest.fixture
def admin(world: World, http: httpx.AsyncClient) -> Caller:
    return _caller(world, http, "admin")
