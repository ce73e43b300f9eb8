"""Tokens of Keystone: whose they are here, how long they are believed, and what holds while it is gone."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest

from chassis.testing import VirtualClock, said
from contracts.access.federation import KeystoneAccepted
from services.gateway.context import Gateway
from services.gateway.identity.keystone.callers import KeystoneCallers
from simulator.app import build
from simulator.clock import HandClock
from simulator.world import World
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.world import CHEAP
from tests.unit.gateway.world import CREATE, Clients

SETTINGS: dict[str, object] = {
    "password_memory": CHEAP,
    "keystone_url": "http://127.0.0.1/identity/v3",
    "keystone_username": "admin",
    "keystone_password": "simulator",
    "keystone_project": "admin",
    "keystone_projects": {"Default/demo": "demo"},
}
MakeGateway = Callable[..., Awaitable[Gateway]]


class Between(httpx.AsyncBaseTransport):
    """Passes requests on to the simulated cloud, counts them, and breaks off when told to."""

    def __init__(self, world: World) -> None:
        self.inner = httpx.ASGITransport(build(world))
        self.asked: list[str] = []
        self.is_down = False
        self.status = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.method)
        if self.is_down:
            raise httpx.ConnectError("gone")
        if self.status:
            return httpx.Response(self.status, json={})
        return await self.inner.handle_async_request(request)


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


@pytest.fixture
def clock(hand: HandClock) -> VirtualClock:
    return VirtualClock(datetime.fromtimestamp(hand.now(), UTC))


@pytest.fixture
def world(hand: HandClock) -> World:
    return World(clock=hand)


@pytest.fixture
def between(world: World) -> Between:
    return Between(world)


@pytest.fixture
def make(new_gateway: NewGateway, between: Between) -> MakeGateway:
    async def made(**more: object) -> Gateway:
        gateway = await new_gateway(**{**SETTINGS, **more})
        callers_of(gateway).keystone.web.transport = between
        return gateway

    return made


def callers_of(gateway: Gateway) -> KeystoneCallers:
    assert gateway.identity.keystone is not None
    return gateway.identity.keystone


def token_of(world: World, name: str = "demo", project: str | None = None) -> str:
    user = world.identity.user(name)
    assert user is not None
    found = world.identity.project_id(name if project is None else project) if project != "" else ""
    return world.identity.issue(user, found or "", world.clock.now()).id


@asynccontextmanager
async def asking(gateway: Gateway, token: str, **more: str) -> AsyncGenerator[httpx.AsyncClient]:
    headers = {"X-Auth-Token": token, **{k.replace("_", "-"): v for k, v in more.items()}}
    transport = httpx.ASGITransport(gateway.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://gateway", headers=headers
    ) as made:
        yield made


async def status(gateway: Gateway, token: str, path: str = "/v1/vms", **more: str) -> int:
    async with asking(gateway, token, **more) as using:
        return (await using.get(path)).status_code


async def test_a_user_of_the_cloud_acts_in_the_project_that_theirs_is_mapped_to(
    make: MakeGateway, world: World
) -> None:
    gateway = await make()
    async with asking(gateway, token_of(world)) as demo:
        who = (await demo.get("/v1/me")).json()
        user = world.identity.user("demo")
        assert user is not None
        assert who["actor"] == f"keystone:{user.id}"
        assert (who["project_id"], who["role"]) == ("demo", "operator")
        assert (await demo.get("/v1/api-keys")).status_code == 403
    accepted = [
        m.data for m in await said(gateway.database) if isinstance(m.data, KeystoneAccepted)
    ]
    assert [each.role.value for each in accepted] == ["operator"]
    assert await status(gateway, token_of(world, "admin", "demo"), "/v1/api-keys") == 200


async def test_roles_and_projects_that_are_not_mapped_are_nobodys_here(
    make: MakeGateway, world: World
) -> None:
    gateway = await make(keystone_roles={"auditor": "viewer"})
    assert await status(gateway, token_of(world)) == 403
    gateway = await make()
    assert await status(gateway, token_of(world, "other")) == 403
    assert await status(gateway, token_of(world, "demo", "")) == 403, "unscoped"
    by_id = world.identity.project_id("other")
    assert by_id is not None
    gateway = await make(keystone_projects={by_id: "other"})
    assert await status(gateway, token_of(world, "other")) == 200
    assert await status(gateway, token_of(world, "other"), X_Project_Id="demo") == 403


async def test_what_is_no_token_is_refused_and_not_asked_about_again_at_once(
    make: MakeGateway, between: Between
) -> None:
    gateway = await make()
    for _ in range(3):
        assert await status(gateway, "gAAAAAnobodys") == 401
    assert between.asked == ["POST", "GET"], "the gateway's own login, then one question"
    for nothing in ("a b", "x" * 9000):
        assert await status(gateway, nothing) in {401, 431}
    assert between.asked == ["POST", "GET"]


async def test_a_token_is_believed_for_a_while_and_never_longer_than_it_lives(
    make: MakeGateway, world: World, between: Between, clock: VirtualClock, hand: HandClock
) -> None:
    gateway, token = await make(keystone_cache=60), token_of(world)
    for _ in range(3):
        assert await status(gateway, token) == 200
    assert between.asked.count("GET") == 1
    world.identity.revoke(token)
    clock.advance(seconds=59)
    assert await status(gateway, token) == 200
    clock.advance(seconds=2)
    assert await status(gateway, token) == 401
    hand.turn(61)
    late = token_of(world)
    assert await status(gateway, late) == 200
    hand.turn(3601)
    clock.advance(seconds=3601)
    assert await status(gateway, late) == 401


async def test_while_keystone_is_gone_nobody_is_let_in_and_nobody_is_told_that_they_are_wrong(
    make: MakeGateway, world: World, between: Between
) -> None:
    gateway, known = await make(), token_of(world)
    assert await status(gateway, known) == 200
    between.is_down = True
    assert await status(gateway, token_of(world)) == 503
    assert await status(gateway, "gAAAAAnobodys") == 503
    assert await status(gateway, known) == 200, "what is known goes on"
    between.is_down = False
    for answer in (500, 403, 429, 200, 302):
        between.status = answer
        assert await status(gateway, token_of(world)) == 503, answer


async def test_the_gateways_own_token_is_renewed_when_keystone_has_forgotten_it(
    make: MakeGateway, world: World, between: Between
) -> None:
    gateway = await make()
    assert await status(gateway, token_of(world)) == 200
    world.identity.revoke_all()
    assert await status(gateway, token_of(world)) == 200
    assert between.asked == ["POST", "GET", "GET", "POST", "GET"]
    world.password = "another"
    world.identity.revoke_all()
    assert await status(gateway, token_of(world)) == 503


async def test_keystone_is_one_credential_among_others_and_only_where_it_is_enabled(
    make: MakeGateway, world: World, clients: Clients, gateway: Gateway
) -> None:
    token, key = token_of(world), clients.admin.headers["X-API-Key"]
    assert await status(await make(), token, X_API_Key=key) == 401
    assert await status(gateway, token) == 401
    assert await status(gateway, token, X_API_Key=key) == 200, "not looked at"


async def test_a_reader_of_the_cloud_changes_nothing_here(make: MakeGateway, world: World) -> None:
    gateway = await make(keystone_roles={"reader": "viewer"})
    async with asking(gateway, token_of(world)) as reader:
        assert (await reader.get("/v1/vms")).status_code == 200
        assert (await reader.post("/v1/vms", json=CREATE)).status_code == 403
