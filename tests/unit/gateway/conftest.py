"""A gateway without Kafka over a database that is made once and emptied for each test, and clients."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from pydantic import SecretStr

from chassis.identity import Caller
from chassis.testing import VirtualClock
from contracts.identity import Role
from services.gateway.app import build
from services.gateway.context import Gateway
from services.gateway.locks import exclusively
from services.gateway.settings import GatewaySettings
from services.gateway.tables import METADATA
from tests.infra.databases import (
    Tables,
    bound_url,
    made_bound,
    made_postgres,
    made_sqlite,
    postgres_url,
    sqlite_url,
)
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, Clients, hear_catalog

__all__ = [  # fixtures
    "bound_url",
    "made_bound",
    "made_postgres",
    "made_sqlite",
    "postgres_url",
    "sqlite_url",
]
NewGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture(scope="session")
def tables() -> Tables:
    return Tables("gateway", METADATA)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def new_gateway(database_url: str, clock: VirtualClock) -> AsyncIterator[NewGateway]:
    """Make gateways over one database: the second one is another replica."""
    made: list[Gateway] = []

    async def make(**settings: object) -> Gateway:
        given = GatewaySettings.model_validate(
            {
                "database_url": database_url,
                "internal_secret": SecretStr("s" * 32),
                "projects": {"demo": "simulator", "other": "elsewhere"},
                "first_api_key": SecretStr(ADMIN_KEY),
                # The tests' clock stands still, and with it every window.
                "rate_limits": {"sensitive": {"caller": "", "address": ""}},
                **settings,
            }
        )
        gateway = build(given, clock=clock, show=lambda _: None)
        made.append(gateway)
        await gateway.first_keys.ensure(exclusively)
        return gateway

    yield make
    for gateway in made:
        await gateway.database.close()


@pytest.fixture
async def gateway(new_gateway: NewGateway) -> Gateway:
    made = await new_gateway()
    await hear_catalog(made, *CATALOG)
    return made


@pytest.fixture
async def clients(gateway: Gateway) -> AsyncIterator[Clients]:
    """Clients of a gateway: an admin, an operator and a viewer of `demo`, a stranger of `other`."""
    wanted = {
        "operator": Caller("key:first", "demo", Role.OPERATOR),
        "viewer": Caller("key:first", "demo", Role.VIEWER),
        "stranger": Caller("key:first", "other", Role.ADMIN),
    }
    secrets = {"admin": ADMIN_KEY, "nobody": ""}
    async with gateway.database.session() as session:
        for name, caller in wanted.items():
            made = await gateway.keys.make(session, caller, name)
            assert made is not None
            secrets[name] = made.secret
    opened = {name: client(gateway, secret) for name, secret in secrets.items()}
    yield Clients(**opened)
    for each in opened.values():
        await each.aclose()


def client(gateway: Gateway, secret: str) -> httpx.AsyncClient:
    """A client that talks to the gateway's app without a network."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(gateway.app),
        base_url="http://gateway",
        headers={"X-API-Key": secret} if secret else {},
    )
