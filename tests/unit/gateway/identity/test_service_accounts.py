"""Service accounts: what they may do, how they get tokens, and what ends what they have."""

import base64
from datetime import timedelta
from typing import Any

import httpx
import pytest

from chassis.testing import VirtualClock, said
from contracts.access.federation import (
    ClientAdmitted,
    ClientRefused,
    ServiceAccountChanged,
    ServiceAccountLocked,
)
from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity import marked
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.identity.world import bearer, make_user, nobody, try_login
from tests.unit.gateway.world import CREATE, Clients


async def make(clients: Clients, **wanted: object) -> dict[str, Any]:
    body = {"name": "robot", "role": "operator", **wanted}
    made = await clients.admin.post("/v1/service-accounts", json=body)
    assert made.status_code == 201, made.text
    return made.json()


async def secret_of(clients: Clients, account: dict[str, Any], **how: object) -> str:
    path = f"/v1/service-accounts/{account['id']}/secret"
    made = await clients.admin.post(path, json=how)
    assert made.status_code == 201, made.text
    return made.json()["client_secret"]


async def ask(
    gateway: Gateway, account: dict[str, Any], secret: str, **more: str
) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_id": account["id"]}
    async with nobody(gateway) as using:
        return await using.post("/v1/auth/token", data={**form, "client_secret": secret, **more})


async def token_of(gateway: Gateway, account: dict[str, Any], secret: str, **more: str) -> str:
    answer = await ask(gateway, account, secret, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


async def status(gateway: Gateway, token: str, project: str | None = None) -> int:
    async with bearer(gateway, token, project) as using:
        return (await using.get("/v1/vms")).status_code


async def test_a_service_account_acts_in_its_project_with_its_role_alone(
    gateway: Gateway, clients: Clients
) -> None:
    account = await make(clients)
    token = await token_of(gateway, account, await secret_of(clients, account))
    async with bearer(gateway, token) as robot:
        who = (await robot.get("/v1/me")).json()
        assert (who["actor"], who["project_id"], who["role"]) == (
            "service:robot",
            "demo",
            "operator",
        )
        assert who["user"] is None
        assert (await robot.get("/v1/vms")).status_code == 200
        for path in ("/v1/api-keys", "/v1/service-accounts", "/v1/users"):
            assert (await robot.get(path)).status_code == 403, path
        assert (await robot.patch("/v1/me", json={"name": "x"})).status_code == 403
    assert await status(gateway, token, "other") == 403
    admitted = [m.data for m in await said(gateway.database) if isinstance(m.data, ClientAdmitted)]
    assert [each.name for each in admitted] == ["robot"]


async def test_a_token_has_the_scopes_that_were_asked_for_and_no_more_than_its_account(
    gateway: Gateway, clients: Clients
) -> None:
    account = await make(clients, scopes=["vm.*"])
    secret = await secret_of(clients, account)
    narrow = await token_of(gateway, account, secret, scope="vm.read")
    async with bearer(gateway, narrow) as robot:
        assert (await robot.get("/v1/vms")).status_code == 200
        assert (await robot.post("/v1/vms", json=CREATE)).status_code == 403
    wide = await ask(gateway, account, secret, scope="vm.read audit.read")
    assert (wide.status_code, wide.json()["error"]) == (400, "invalid_scope")


async def test_id_and_secret_come_by_basic_too_and_never_by_both(
    gateway: Gateway, clients: Clients
) -> None:
    account = await make(clients)
    secret = await secret_of(clients, account)
    plain = base64.b64encode(f"{account['id']}:{secret}".encode()).decode()
    headers, form = {"Authorization": f"Basic {plain}"}, {"grant_type": "client_credentials"}
    async with nobody(gateway) as using:
        path = "/v1/auth/token"
        answer = await using.post(path, headers=headers, data=form)
        assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer")
        assert answer.headers["cache-control"] == "no-store"
        for wrong in (
            {**form, "client_secret": secret},
            {**form, "client_id": "another"},
            {**form, "unknown": "x"},
            {"grant_type": "password"},
        ):
            assert (await using.post(path, headers=headers, data=wrong)).status_code == 400, wrong
        for broken in ("Basic !", "Basic " + base64.b64encode(b"\xff:x").decode(), "Basic "):
            answer = await using.post(path, headers={"Authorization": broken}, data=form)
            assert answer.status_code == 401, broken
            assert answer.headers["www-authenticate"].startswith("Basic ")
        twice = f"grant_type=client_credentials&client_id={account['id']}&client_id=x"
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await using.post(path, headers=kind, content=twice)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert (await using.post(path, json=form)).status_code == 415


async def test_wrong_secrets_lock_the_account_for_a_while_and_the_audit_is_told(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    account = await make(clients)
    secret = await secret_of(clients, account)
    await said(gateway.database)
    for _ in range(5):
        answer = await ask(gateway, account, marked.make("hs"))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert (await ask(gateway, account, secret)).status_code == 401
    clock.advance(seconds=31)
    assert (await ask(gateway, account, secret)).status_code == 200
    for nobodys in ("", "x" * 5000, "01993b1c-58a5-7c58-8a52-0000000000a1"):
        assert (await ask(gateway, {"id": nobodys}, secret)).status_code == 401
    told = [m.data for m in await said(gateway.database)]
    assert len([e for e in told if isinstance(e, ClientRefused)]) == 5 + 1 + 2
    assert [e.failures for e in told if isinstance(e, ServiceAccountLocked)] == [5]


async def test_another_secret_takes_the_place_of_the_one_before_after_an_overlap(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    account = await make(clients)
    first = await secret_of(clients, account)
    second = await secret_of(clients, account, overlap_seconds=60)
    assert (await ask(gateway, account, first)).status_code == 200
    clock.advance(seconds=61)
    assert (await ask(gateway, account, first)).status_code == 401
    token = await token_of(gateway, account, second)
    third = await secret_of(clients, account, overlap_seconds=0)
    assert await status(gateway, token) == 401
    assert (await ask(gateway, account, second)).status_code == 401
    assert (await ask(gateway, account, third)).status_code == 200


@pytest.mark.parametrize("how", ["off", "removed", "no secret", "lesser"])
async def test_what_is_taken_from_an_account_is_taken_from_its_tokens_and_keys(
    gateway: Gateway, clients: Clients, how: str
) -> None:
    account = await make(clients, role="admin")
    token = await token_of(gateway, account, await secret_of(clients, account))
    body = {"name": "its", "role": "admin", "service_account_id": account["id"]}
    key = (await clients.admin.post("/v1/api-keys", json=body)).json()["key"]
    path = f"/v1/service-accounts/{account['id']}"
    async with client(gateway, key) as its:
        assert (await its.get("/v1/api-keys")).status_code == 200
        if how == "off":
            await clients.admin.patch(path, json={"enabled": False})
        elif how == "removed":
            await clients.admin.delete(path)
        elif how == "no secret":
            await clients.admin.delete(f"{path}/secret")
        else:
            await clients.admin.patch(path, json={"role": "viewer"})
        expected = {"off": 401, "removed": 401, "no secret": 200, "lesser": 403}[how]
        assert (await its.get("/v1/api-keys")).status_code == expected
    assert await status(gateway, token) == 401
    told = [m.data for m in await said(gateway.database)]
    changes = [e.new for e in told if isinstance(e, ServiceAccountChanged)]
    assert changes == {"off": [{"enabled": False}], "lesser": [{"role": "viewer"}]}.get(how, [])


async def test_another_gateway_sees_it_within_seconds(
    gateway: Gateway, clients: Clients, new_gateway: NewGateway, clock: VirtualClock
) -> None:
    account = await make(clients)
    token = await token_of(gateway, account, await secret_of(clients, account))
    other = await new_gateway()
    assert await status(other, token) == 200
    await clients.admin.patch(f"/v1/service-accounts/{account['id']}", json={"enabled": False})
    clock.advance(seconds=6)
    assert await status(other, token) == 401


async def test_keys_of_an_account_do_no_more_than_it_and_are_revoked_at_once(
    gateway: Gateway, clients: Clients
) -> None:
    account = await make(clients, scopes=["vm.*"])
    for role, expected in (("admin", 400), ("operator", 201), ("viewer", 201)):
        body = {"name": f"its-{role}", "role": role, "service_account_id": account["id"]}
        made = await clients.admin.post("/v1/api-keys", json=body)
        assert made.status_code == expected, made.text
        if expected == 201:
            assert made.json()["service_account_id"] == account["id"]
            async with client(gateway, made.json()["key"]) as its:
                assert (await its.get("/v1/vms")).status_code == 200
                assert (await its.get("/v1/audit")).status_code == 403
    listed = await clients.admin.get("/v1/api-keys", params={"service_account_id": account["id"]})
    assert [each["name"] for each in listed.json()["items"]] == ["its-operator", "its-viewer"]
    revoked = await clients.admin.post(
        "/v1/api-keys/revoke", json={"service_account_id": account["id"]}
    )
    assert len(revoked.json()["revoked"]) == 2
    async with client(gateway, made.json()["key"]) as its:
        assert (await its.get("/v1/vms")).status_code == 401
    for wrong in ({}, {"user_id": account["id"], "service_account_id": account["id"]}):
        assert (await clients.admin.post("/v1/api-keys/revoke", json=wrong)).status_code == 400


async def test_a_stranger_gives_no_key_to_an_account_of_another_project(clients: Clients) -> None:
    account = await make(clients)
    body = {"name": "x", "role": "viewer", "service_account_id": account["id"]}
    assert (await clients.stranger.post("/v1/api-keys", json=body)).status_code == 404


async def test_keys_end_as_the_settings_say_and_with_the_key_that_made_them(
    new_gateway: NewGateway, clients: Clients, clock: VirtualClock
) -> None:
    bounded = await new_gateway(
        api_key_lifetime=timedelta(days=30), api_key_max_lifetime=timedelta(days=90)
    )
    key = clients.admin.headers["X-API-Key"]
    async with client(bounded, key) as admin:

        async def made(name: str, days: int | None, using: httpx.AsyncClient) -> httpx.Response:
            ends = None if days is None else (clock() + timedelta(days=days)).isoformat()
            body = {"name": name, "role": "admin", "expires_at": ends}
            return await using.post("/v1/api-keys", json=body)

        assert (await made("long", 91, admin)).status_code == 400
        usual = (await made("usual", None, admin)).json()
        assert usual["expires_at"] == (clock() + timedelta(days=30)).isoformat().replace(
            "+00:00", "Z"
        )
        short = (await made("short", 2, admin)).json()
        async with client(bounded, short["key"]) as using:
            assert (await made("longer", 3, using)).status_code == 400
            child = (await made("child", None, using)).json()
            assert child["expires_at"] == short["expires_at"]


async def test_the_keys_of_a_user_follow_them_also_those_that_their_keys_made(
    gateway: Gateway, clients: Clients
) -> None:
    who = await make_user(gateway, "ada@example.org", {"demo": Role.ADMIN})
    async with bearer(gateway, (await try_login(gateway)).json()) as ada:
        own = await ada.post("/v1/api-keys", json={"name": "own", "role": "admin"})
    async with client(gateway, own.json()["key"]) as hers:
        child = await hers.post("/v1/api-keys", json={"name": "child", "role": "viewer"})
    assert child.json()["user_id"] == str(who)
    await clients.admin.post("/v1/api-keys/revoke", json={"user_id": str(who)})
    async with client(gateway, child.json()["key"]) as using:
        assert (await using.get("/v1/vms")).status_code == 401


def test_scanners_know_secrets_by_their_shape_and_checksum() -> None:
    for mark in ("hk", "hs"):
        made = marked.make(mark)
        assert marked.is_marked(made)
        flipped = made[:-10] + ("A" if made[-10] != "A" else "B") + made[-9:]
        assert not marked.is_marked(flipped)
    assert marked.checksum("hk_00000000_" + "A" * 43) == "38fPTe"
