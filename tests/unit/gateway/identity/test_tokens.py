"""Access tokens: taken wherever a key is, checked without a query, signed by keys that change."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from joserfc import jws, jwt
from joserfc.jwk import OKPKey
from sqlalchemy import event, select

from chassis.testing import VirtualClock, said
from contracts.access.identity import TokenKeyMade
from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.tables import SIGNING_KEYS
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.world import (
    ADA,
    BOB,
    CHEAP,
    bearer,
    log_in,
    make_user,
    nobody,
)
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, CREATE, hear_catalog

BOTH = {"demo": Role.OPERATOR, "other": Role.VIEWER}


@asynccontextmanager
async def queries(gateway: Gateway) -> AsyncGenerator[list[str]]:
    """Every statement that goes to a gateway's database meanwhile."""
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    engine = gateway.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def status(gateway: Gateway, token: str) -> int:
    async with bearer(gateway, token) as client:
        return (await client.get("/v1/me")).status_code


async def test_a_token_is_taken_wherever_a_key_is(gateway: Gateway) -> None:
    await hear_catalog(gateway, *CATALOG)
    ada = await make_user(gateway, ADA, {"demo": Role.OPERATOR})
    async with bearer(gateway, await log_in(gateway)) as client:
        made = await client.post("/v1/vms", json=CREATE)
        assert (made.status_code, made.json()["actor"]) == (202, f"user:{ada}")
        assert (await client.post("/v1/api-keys", json={"name": "x", "role": "viewer"})).json()[
            "code"
        ] == "forbidden"


async def test_a_token_follows_events_until_its_session_ends(gateway: Gateway) -> None:
    await make_user(gateway, ADA, {"demo": Role.VIEWER})
    tokens = await log_in(gateway)
    gateway.service.stopping.set()  # so that streams end by themselves
    async with bearer(gateway, tokens) as client:
        answer = await client.get("/v1/events")
        assert answer.headers["content-type"].startswith("text/event-stream")
        await client.post("/v1/auth/logout-everywhere")
        assert (await client.get("/v1/events")).status_code == 401


async def test_a_known_token_costs_no_query(gateway: Gateway) -> None:
    await make_user(gateway, ADA, {"demo": Role.VIEWER})
    async with bearer(gateway, await log_in(gateway)) as client:
        assert (await client.get("/asyncapi.json")).status_code == 200
        assert (await client.get("/v1")).status_code == 200
        async with queries(gateway) as seen:
            for _ in range(3):
                assert (await client.get("/v1")).status_code == 200
    assert seen == []


async def test_a_database_that_is_gone_costs_nobody_their_session(
    gateway: Gateway, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_user(gateway, ADA, {"demo": Role.VIEWER})
    async with bearer(gateway, await log_in(gateway)) as client:
        assert (await client.get("/v1")).status_code == 200

        def gone() -> None:
            raise ConnectionError("the database is gone")

        with monkeypatch.context() as patched:
            patched.setattr(gateway.database, "reading", gone)
            assert (await client.get("/v1")).status_code == 200
            clock.advance(seconds=6)
            answer = await client.get("/v1")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert "retry-after" in answer.headers
        assert (await client.get("/v1")).status_code == 200


async def test_one_who_is_in_many_projects_chooses(gateway: Gateway) -> None:
    await make_user(gateway, ADA, BOTH)
    tokens = await log_in(gateway)
    for project, role in BOTH.items():
        async with bearer(gateway, tokens, project) as client:
            caller = (await client.get("/v1")).json()["caller"]
        assert (caller["project_id"], caller["role"]) == (project, role)
    async with bearer(gateway, tokens) as client:
        answer = await client.get("/v1/vms")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_project_that_is_not_theirs_is_refused_alike_whether_it_is_there_or_not(
    gateway: Gateway,
) -> None:
    await make_user(gateway, ADA, {"demo": Role.ADMIN})
    tokens = await log_in(gateway)
    told = set[str]()
    for project in ("other", "nope", "*", "demo2"):
        async with bearer(gateway, tokens, project) as client:
            answer = await client.get("/v1/vms")
        assert answer.status_code == 403, project
        told.add(answer.json()["detail"])
    assert len(told) == 1


async def test_a_key_acts_in_no_other_project_either(gateway: Gateway) -> None:
    async with nobody(gateway) as client:
        headers = {"X-API-Key": ADMIN_KEY, "X-Project-Id": "other"}
        assert (await client.get("/v1/vms", headers=headers)).status_code == 403
        headers["X-Project-Id"] = "demo"
        assert (await client.get("/v1/vms", headers=headers)).status_code == 200


async def test_an_admin_of_the_platform_without_a_project_sees_no_projects_things(
    gateway: Gateway,
) -> None:
    await make_user(gateway, ADA, {"demo": Role.ADMIN}, is_admin=True)
    tokens = await log_in(gateway)
    async with bearer(gateway, tokens) as client:
        assert (await client.get("/v1/vms")).status_code == 403
        assert (await client.get("/v1/api-keys")).status_code == 403
    async with bearer(gateway, tokens, "other") as client:
        assert (await client.get("/v1/vms")).status_code == 403
    async with bearer(gateway, tokens, "demo") as client:
        assert (await client.get("/v1/vms")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer x"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer a.b.c", "X-API-Key": ADMIN_KEY},
        {"X-API-Key": "hk_unknown"},
    ],
)
async def test_a_refusal_names_the_credentials_that_are_taken(
    gateway: Gateway, headers: dict[str, str]
) -> None:
    async with nobody(gateway) as client:
        answer = await client.get("/v1/vms", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith('Bearer realm="hostler"')


async def test_anybody_can_check_a_token_with_the_published_keys(gateway: Gateway) -> None:
    ada = await make_user(gateway, ADA, BOTH)
    tokens = await log_in(gateway)
    async with nobody(gateway) as client:
        answer = await client.get("/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=60"
    [key] = answer.json()["keys"]
    assert "d" not in key
    read = jwt.decode(tokens["access_token"], OKPKey.import_key(key), algorithms=["Ed25519"])
    assert read.header["kid"] == key["kid"]
    assert read.claims["sub"] == str(ada)
    assert read.claims["projects"] == {"demo": "operator", "other": "viewer"}
    assert (read.claims["iss"], read.claims["aud"]) == ("http://127.0.0.1:8000", "hostler")
    assert read.claims["exp"] - read.claims["iat"] == 600


async def test_keys_change_without_a_token_that_is_refused(
    gateway: Gateway, new_gateway: NewGateway, clock: VirtualClock
) -> None:
    await make_user(gateway, ADA, is_admin=True)
    replica = await new_gateway(password_memory=CHEAP)
    before = await log_in(gateway)
    assert await status(replica, before["access_token"]) == 200
    async with bearer(gateway, before) as client:
        made = await client.post("/v1/auth/token-keys", json={})
    assert made.status_code == 201
    clock.advance(seconds=2)
    async with nobody(replica) as client:
        published = (await client.get("/.well-known/jwks.json")).json()["keys"]
    assert made.json()["kid"] in [each["kid"] for each in published]
    during = await log_in(replica)
    clock.advance(minutes=3)
    after = await log_in(gateway)
    for tokens in (before, during, after):
        assert await status(gateway, tokens["access_token"]) == 200
        assert await status(replica, tokens["access_token"]) == 200
    assert kid(after) == made.json()["kid"]
    assert kid(during) == kid(before) != kid(after)
    clock.advance(minutes=20)
    await replica.identity.keyring.read()
    assert [each.id for each in replica.identity.keyring.known()] == [kid(after)]


def kid(tokens: dict[str, str]) -> str:
    return str(jws.extract_compact(tokens["access_token"].encode()).headers()["kid"])


async def test_a_key_that_somebody_has_a_copy_of_is_retired_at_once(
    gateway: Gateway, new_gateway: NewGateway, clock: VirtualClock
) -> None:
    await make_user(gateway, ADA, is_admin=True)
    tokens = await log_in(gateway)
    replica = await new_gateway(password_memory=CHEAP)
    assert await status(replica, tokens["access_token"]) == 200
    async with bearer(gateway, tokens) as client:
        made = await client.post("/v1/auth/token-keys", json={"retire": True})
    assert made.json()["retired"] == [kid(tokens)]
    assert await status(gateway, tokens["access_token"]) == 401
    await replica.identity.keyring.rotate_if_due()  # as it does every few seconds
    assert await status(replica, tokens["access_token"]) == 401
    clock.advance(seconds=2)
    assert await status(replica, (await log_in(gateway))["access_token"]) == 200


async def test_only_an_admin_of_the_platform_changes_keys(gateway: Gateway) -> None:
    await make_user(gateway, BOB, {"demo": Role.ADMIN})
    async with bearer(gateway, await log_in(gateway, BOB)) as client:
        assert (await client.post("/v1/auth/token-keys", json={})).status_code == 403


async def test_a_key_as_old_as_keys_get_is_followed_by_one_of_all_gateways(
    gateway: Gateway, new_gateway: NewGateway, clock: VirtualClock
) -> None:
    replica = await new_gateway(password_memory=CHEAP)
    await gateway.identity.keyring.signer()
    for hours in (1, 30 * 24):
        clock.advance(hours=hours)
        await gateway.identity.keyring.rotate_if_due()
        await replica.identity.keyring.rotate_if_due()
    made = [m.data for m in await said(gateway.database) if isinstance(m.data, TokenKeyMade)]
    assert len(made) == 2
    assert len(replica.identity.keyring.known()) == 2


async def test_two_gateways_that_start_at_once_make_one_key(
    gateway: Gateway, new_gateway: NewGateway
) -> None:
    replica = await new_gateway(password_memory=CHEAP)
    one = await gateway.identity.keyring.signer()
    other = await replica.identity.keyring.signer()
    assert one.id == other.id


async def test_a_private_key_is_sealed_and_another_secret_signs_with_a_key_of_its_own(
    gateway: Gateway, new_gateway: NewGateway
) -> None:
    await make_user(gateway, ADA)
    tokens = await log_in(gateway)
    seed = str((await gateway.identity.keyring.signer()).key.as_dict(private=True)["d"])
    async with gateway.database.reading() as session:
        [row] = (await session.execute(select(SIGNING_KEYS))).all()
    assert seed.encode() not in row.sealed
    changed = await new_gateway(password_memory=CHEAP, internal_secret="t" * 32)
    assert await status(changed, tokens["access_token"]) == 200
    assert kid(await log_in(changed)) != kid(tokens)
