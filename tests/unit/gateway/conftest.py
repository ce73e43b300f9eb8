"""A gateway without Kafka over a database that is made once and emptied for each test, and clients."""

import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from chassis.database import Database
from chassis.identity import Caller
from chassis.migrations import migrate
from chassis.tables import METADATA as CHASSIS
from chassis.testing import VirtualClock
from contracts.identity import Role
from deploy.local.postgres import dsn
from services.gateway.app import build
from services.gateway.context import Gateway
from services.gateway.locks import exclusively
from services.gateway.settings import GatewaySettings
from services.gateway.tables import METADATA
from tests.infra.plan import Infrastructure
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, Clients, hear_catalog

NewGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture(scope="session")
async def made_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the gateway's empty tables."""
    path = tmp_path_factory.mktemp("gateway") / "made.db"
    database = Database(f"sqlite+aiosqlite:///{path}", "gateway")
    await migrate(database)
    await database.close()
    return path


@pytest.fixture(scope="session")
async def made_postgres(infrastructure: Infrastructure) -> AsyncIterator[str]:
    """A PostgreSQL database with the gateway's tables."""
    server = dsn(infrastructure.database().url)
    name = f"gateway_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
    url = dsn(infrastructure.database().url, database=name)
    url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    database = Database(url, "gateway")
    await migrate(database)
    await database.close()
    yield url
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def sqlite_url(made_sqlite: Path, tmp_path: Path) -> str:
    """A file of this test's own."""
    return f"sqlite+aiosqlite:///{shutil.copy(made_sqlite, tmp_path / 'test.db')}"


@pytest.fixture
def postgres_url(made_postgres: str) -> str:
    """The shared database, emptied; sequences begin anew."""
    tables = [f"gateway.{table}" for table in (*CHASSIS.tables, *METADATA.tables)]
    with psycopg.connect(dsn(made_postgres), autocommit=True) as connection:
        connection.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY".encode())
    return made_postgres


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
