"""Postgres keeps projects apart by itself: raw SQL as a project, in the role that services have."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, act_again, act_for, as_projects
from chassis.identity import Caller
from chassis.migrations import migrate
from chassis.testing import VirtualClock
from contracts.identity import Role
from deploy import roles
from deploy.local.postgres import dsn
from hostler_client.signing import Signing
from services.gateway.app import ROUTERS, build
from services.gateway.context import Gateway
from services.gateway.locks import exclusively
from services.gateway.policy.isolation import Isolation
from services.gateway.settings import GatewaySettings
from services.gateway.tables import METADATA
from tests.infra.databases import own_database
from tests.infra.plan import Infrastructure
from tests.unit.gateway.conftest import client
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, CREATE, hear_catalog, make_active

EVERYTHING = ROUTERS
"""To import the app is to know every table."""
WORD = "w" * 32
_VM = """INSERT INTO vms (id, project_id, account, name, folded_name, state, addresses, metadata, tags,
security_groups, operations, version, revision, created_at, updated_at) VALUES (gen_random_uuid(),
:project, 'x', :project, :project, 'active', '[]', '{}', '[]', '[]', 0, 0, 1, now(), now())"""


@pytest.fixture(scope="module")
def server(infrastructure: Infrastructure) -> Iterator[str]:
    """A database with the roles of a deployment; its URL as whoever may make them."""
    with own_database(infrastructure.database().url) as url:
        roles.ensure(dsn(url), lambda _role: WORD)
        yield url


def url_as(server: str, role: str) -> str:
    return make_url(server).set(username=role, password=WORD).render_as_string(hide_password=False)


@pytest.fixture
async def database(server: str) -> AsyncIterator[Database]:
    """The gateway's own, with a VM of `a` and one of `b`, and one connection for all sessions."""
    made = Database(url_as(server, roles.role_of("gateway")), "gateway", pool=1)
    await migrate(made, url_as(server, roles.owner_of("gateway")))
    async with made.session() as session:
        await session.execute(text("DELETE FROM vms"))
        for project in ("a", "b"):
            await session.execute(text(_VM), {"project": project})
    yield made
    await made.close()


async def names(session: AsyncSession) -> list[str]:
    return list(await session.scalars(text("SELECT name FROM vms ORDER BY name")))


async def test_every_table_with_a_project_is_closed(database: Database) -> None:
    wanted = {name for name, table in METADATA.tables.items() if "project_id" in table.c}
    closed = text(
        "SELECT relname FROM pg_class WHERE relnamespace = 'gateway'::regnamespace"
        " AND relrowsecurity AND relforcerowsecurity"
    )
    async with database.reading() as session:
        assert set(await session.scalars(closed)) == wanted


async def test_a_query_that_forgot_its_where_shows_one_projects_rows_alone(
    database: Database,
) -> None:
    with as_projects("a"):
        async with database.reading() as session:
            assert await names(session) == ["a"]
        async with database.session() as session:
            assert await names(session) == ["a"]
    async with database.reading() as session:
        assert await names(session) == ["a", "b"]
    with as_projects("b"):
        async with database.reading() as session:
            assert await names(session) == ["b"]
    with as_projects("a", "b"):
        async with database.reading() as session:
            assert await names(session) == ["a", "b"]
    for nobody in ((), ("",), ("*",), ("a,b",), ("{a,b}",)):
        with as_projects(*nobody):
            async with database.reading() as session:
                assert await names(session) == []


async def test_rows_of_another_project_are_neither_changed_nor_removed(database: Database) -> None:
    with as_projects("a"):
        async with database.session() as session:
            every = "UPDATE vms SET name = 'mine' RETURNING project_id"
            assert list(await session.scalars(text(every))) == ["a"]
            theirs = "UPDATE vms SET name = 'mine' WHERE project_id = 'b' RETURNING id"
            assert list(await session.scalars(text(theirs))) == []
            assert list(await session.scalars(text("DELETE FROM vms RETURNING name"))) == ["mine"]
            locked = "SELECT name FROM vms FOR UPDATE"
            assert list(await session.scalars(text(locked))) == []
    async with database.reading() as session:
        assert await names(session) == ["b"]


@pytest.mark.parametrize(
    "statement", [_VM.replace(":project,", "'b',", 1), "UPDATE vms SET project_id = 'b'"]
)
async def test_no_row_is_made_anothers(database: Database, statement: str) -> None:
    with as_projects("a"), pytest.raises(ProgrammingError, match="row-level security"):
        async with database.session() as session:
            given = {"project": "b"} if "INSERT" in statement else {}
            await session.execute(text(statement), given)
    async with database.reading() as session:
        assert await names(session) == ["a", "b"]


async def test_a_session_that_was_rolled_back_leaves_nothing_to_the_next(
    database: Database,
) -> None:
    """One connection: what was declared in a transaction that failed was not declared."""
    for _ in range(2):
        with as_projects("a"), pytest.raises(RuntimeError):
            async with database.session() as session:
                assert await names(session) == ["a"]
                raise RuntimeError
        with as_projects("b"), pytest.raises(RuntimeError):
            async with database.session() as session:
                assert await names(session) == ["b"]
                raise RuntimeError
        async with database.session() as session:
            assert await names(session) == ["a", "b"]
        with as_projects("a"):
            async with database.reading() as session:
                assert await names(session) == ["a"]


async def test_a_savepoint_that_fails_changes_not_whose_the_session_is(database: Database) -> None:
    with as_projects("a"):
        async with database.session() as session:
            with pytest.raises(ProgrammingError):
                async with session.begin_nested():
                    await session.execute(
                        text(_VM.replace(":project,", "'b',", 1)), {"project": "b"}
                    )
            assert await names(session) == ["a"]


async def test_a_connection_that_was_told_nothing_sees_nothing(database: Database) -> None:
    fresh = Database(database.engine.url.render_as_string(hide_password=False), "gateway", pool=1)
    async with fresh.engine.connect() as connection:
        assert list(await connection.scalars(text("SELECT name FROM vms"))) == []
    await fresh.close()


async def test_the_owner_of_the_tables_is_kept_out_too(server: str, database: Database) -> None:
    owner = Database(url_as(server, roles.owner_of("gateway")), "gateway", pool=1)
    before = act_for("a")
    async with owner.reading() as session:
        assert await names(session) == ["a"]
    act_again(before)
    await owner.close()


async def test_readiness_says_whether_the_role_is_past_it(server: str, database: Database) -> None:
    held = await Isolation(database).probe()
    assert held == "by queries and by row-level security, as hostler_gateway"
    mighty = Database(server, "gateway", pool=1)
    with pytest.raises(RuntimeError, match="is past row-level security"):
        await Isolation(mighty).probe()
    await mighty.close()


async def test_a_migration_that_has_nothing_to_do_closes_nothing_again(
    server: str, database: Database
) -> None:
    """Closing locks a table: a replica that starts must not stop those that serve."""
    oid = text("SELECT array_agg(oid ORDER BY oid) FROM pg_policy")
    async with database.reading() as session:
        before = await session.scalar(oid)
    await migrate(database, url_as(server, roles.owner_of("gateway")))
    async with database.reading() as session:
        assert await session.scalar(oid) == before


@pytest.fixture
async def bound(server: str, database: Database, clock: VirtualClock) -> AsyncIterator[Gateway]:
    """A gateway in its own role, which row-level security binds."""
    settings = {
        "database_url": url_as(server, roles.role_of("gateway")),
        "internal_secret": SecretStr("s" * 32),
        "projects": {"demo": "simulator", "other": "simulator"},
        "first_api_key": SecretStr(ADMIN_KEY),
    }
    made = build(GatewaySettings.model_validate(settings), clock=clock, show=lambda _: None)
    await made.first_keys.ensure(exclusively)
    await hear_catalog(made, *CATALOG)
    yield made
    await made.database.close()


async def test_a_gateway_in_that_role_does_all_that_it_does_in_a_mightier_one(
    bound: Gateway,
) -> None:
    async with (
        client(bound, ADMIN_KEY) as admin,
        client(bound, await _strangers_key(bound)) as other,
    ):
        key = {"Idempotency-Key": "k-1"}
        first, theirs = await asyncio.gather(
            admin.post("/v1/vms", json=CREATE, headers=key),
            other.post("/v1/vms", json=CREATE, headers=key),
        )
        assert (first.status_code, theirs.status_code) == (202, 202), (first.text, theirs.text)
        again = await admin.post("/v1/vms", json=CREATE, headers=key)
        assert again.json()["id"] == first.json()["id"] != theirs.json()["id"]
        vm = await make_active(bound, admin, tags=["web"])
        for method, path, body, status in (
            ("POST", f"/v1/vms/{vm['id']}/stop", None, 202),
            ("PATCH", f"/v1/vms/{vm['id']}", {"name": "x"}, 202),
            ("PUT", f"/v1/vms/{vm['id']}/drift", {"choices": {"*": "ignore"}}, 200),
            ("PATCH", "/v1/project", {"owner_only": True}, 200),
            ("GET", "/v1/orphans", None, 200),
            ("GET", "/v1/dead-letters", None, 200),
            ("GET", "/v1/users", None, 200),
            ("POST", "/v1/vms/import", {"server_ids": ["s-1"]}, 409),
            ("POST", "/v1/api-keys", {"name": "x", "role": "viewer"}, 201),
        ):
            answer = await admin.request(method, path, json=body)
            assert answer.status_code == status, (path, answer.text)
        assert (await other.get(f"/v1/vms/{vm['id']}")).status_code == 404
        assert len((await admin.get("/v1/vms?total=true&tag=web")).json()["items"]) == 1
        assert (await other.get("/v1/vms?total=true")).json()["total"] == 1
        taken = await other.post("/v1/vms/import", json={"server_ids": ["s-1"]})
        assert taken.status_code == 409, "a server of a shared account that is another project's VM"


async def test_in_that_role_a_signature_holds_once_and_a_revoked_key_not_at_all(
    bound: Gateway, clock: VirtualClock
) -> None:
    wanted = {"name": "laptop", "algorithm": "hmac-sha256"}
    async with client(bound, ADMIN_KEY) as admin:
        made = (await admin.post("/v1/signing-keys", json=wanted)).json()
        signing = Signing(made["id"], base64.b64decode(made["secret"]), clock)
        request = admin.build_request("GET", "/v1/vms")
        signing.sign(request)
        answers = [(await admin.send(request)).status_code for _ in range(2)]
        assert answers == [200, 401]
        own = await admin.get("/v1/me/sessions", auth=signing)
        assert own.json().get("code") != "signature_invalid", own.text
        mine = f"/v1/signing-keys/{made['id']}"
        assert (await admin.delete(mine, auth=signing)).status_code == 204
        assert (await admin.get("/v1/vms", auth=signing)).status_code == 401


async def _strangers_key(gateway: Gateway) -> str:
    async with gateway.database.session() as session:
        made = await gateway.keys.make(session, Caller("key:x", "other", Role.ADMIN), "theirs")
    assert made is not None
    return made.secret


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()
