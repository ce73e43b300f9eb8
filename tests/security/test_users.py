"""Attacks on accounts: fields that are not one's own to set, ids of others, and what answers give away."""

from uuid import UUID, uuid4

import pytest

from contracts.identity import Role
from services.gateway.context import Gateway
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.world import (
    ADA,
    BOB,
    CHEAP,
    EVE,
    bearer,
    log_in,
    make_user,
    nobody,
    postbox,
)


@pytest.fixture
async def gateway(new_gateway: NewGateway) -> Gateway:
    made = await new_gateway(password_memory=CHEAP, registration="open")
    postbox(made)
    await make_user(made, ADA, is_admin=True)
    await make_user(made, EVE, {"other": Role.ADMIN})
    return made


@pytest.fixture
async def bob(gateway: Gateway) -> UUID:
    return await make_user(gateway, BOB, {"demo": Role.OPERATOR})


@pytest.mark.parametrize(
    "more",
    [
        {"is_admin": True},
        {"state": "active"},
        {"memberships": {"demo": "admin"}},
        {"password": "kettle-otter-sunday-19"},
        {"created_by": "user:x"},
        {"version": 1},
        {"id": "00000000-0000-0000-0000-000000000000"},
        {"__proto__": {"is_admin": True}},
    ],
)
async def test_nobody_registers_with_more_than_a_name(
    gateway: Gateway, more: dict[str, object]
) -> None:
    async with nobody(gateway) as client:
        body = {"email": "mallory@example.org", "name": "M", **more}
        assert (await client.post("/v1/auth/register", json=body)).status_code == 400


async def test_an_admin_of_a_project_makes_no_admin_of_the_platform(
    gateway: Gateway, bob: UUID
) -> None:
    async with bearer(gateway, await log_in(gateway, EVE)) as eve:
        me = (await eve.get("/v1/me")).json()["user"]["id"]
        for body in ({"is_admin": True}, {"state": "disabled"}, {"name": "x"}):
            assert (await eve.patch(f"/v1/users/{me}", json=body)).status_code == 403
        for body in ({"memberships": {"demo": "admin"}}, {"memberships": {"demo": None}}):
            assert (await eve.patch(f"/v1/users/{me}", json=body)).status_code == 403
        for unknown in ("email", "password", "failures", "locked_until", "version", "created_by"):
            answer = await eve.patch(f"/v1/users/{me}", json={unknown: 1})
            assert answer.status_code == 400, unknown
        assert (await eve.get("/v1/me")).json()["user"]["is_admin"] is False


async def test_another_projects_users_are_as_if_there_were_none(
    gateway: Gateway, bob: UUID
) -> None:
    async with bearer(gateway, await log_in(gateway, EVE)) as eve:
        for user_id in (bob, uuid4()):
            answers = [
                await eve.get(f"/v1/users/{user_id}"),
                await eve.patch(f"/v1/users/{user_id}", json={"memberships": {"other": "viewer"}}),
                await eve.post(f"/v1/users/{user_id}/invitation"),
            ]
            assert [each.status_code for each in answers] == [404] * 3
        assert (await eve.get(f"/v1/users?email={BOB}")).json()["items"] == []
        listed = (await eve.get("/v1/users")).json()["items"]
    assert [each["email"] for each in listed] == [EVE]


async def test_a_member_of_two_projects_shows_each_admin_its_own_alone(gateway: Gateway) -> None:
    both = await make_user(gateway, BOB, {"demo": Role.ADMIN, "other": Role.VIEWER})
    async with bearer(gateway, await log_in(gateway, EVE)) as eve:
        shown = (await eve.get(f"/v1/users/{both}")).json()
        assert shown["memberships"] == {"other": "viewer"}
        changed = await eve.patch(f"/v1/users/{both}", json={"memberships": {"other": None}})
        assert changed.json()["memberships"] == {}
        assert (await eve.get(f"/v1/users/{both}")).status_code == 404
    async with bearer(gateway, await log_in(gateway, BOB)) as bob:
        assert (await bob.get("/v1/me")).json()["user"]["memberships"] == {"demo": "admin"}


async def test_keys_of_others_are_as_if_there_were_none(gateway: Gateway) -> None:
    await make_user(gateway, BOB, {"demo": Role.ADMIN})
    async with bearer(gateway, await log_in(gateway, BOB)) as bob:
        made = (await bob.post("/v1/api-keys", json={"name": "x", "role": "viewer"})).json()
    async with bearer(gateway, await log_in(gateway, EVE)) as eve:
        for key_id in (made["id"], str(uuid4())):
            assert (await eve.post(f"/v1/api-keys/{key_id}/rotate")).status_code == 404
            assert (await eve.delete(f"/v1/api-keys/{key_id}")).status_code == 404
        body = {"name": "y", "role": "admin", "project_id": "demo"}
        assert (await eve.post("/v1/api-keys", json=body)).status_code == 400


@pytest.mark.parametrize("path", ["forgot", "register"])
async def test_no_answer_tells_who_has_an_account(gateway: Gateway, path: str, bob: UUID) -> None:
    told = set[tuple[int, str, str]]()
    async with nobody(gateway) as client:
        for email in (ADA, BOB, "BOB@EXAMPLE.ORG", "nobody@example.org"):
            body = {"email": email} | ({"name": "x"} if path == "register" else {})
            answer = await client.post(f"/v1/auth/{path}", json=body)
            headers = dict(answer.headers)
            headers.pop("x-openstack-request-id")
            told.add((answer.status_code, answer.text, str(sorted(headers.items()))))
    assert len(told) == 1


async def test_a_password_is_text_and_nothing_else(gateway: Gateway) -> None:
    async with nobody(gateway) as client:
        for password in (None, 1, True, [], {}, {"$ne": ""}, ["a"], "", "x" * 513):
            body = {"email": ADA, "password": password}
            answer = await client.post("/v1/auth/login", json=body)
            assert answer.status_code == 400, password
            assert "x" * 20 not in answer.text


async def test_statements_in_an_address_find_nobody(gateway: Gateway) -> None:
    async with nobody(gateway) as client:
        for email in ("' OR 1=1 --", "ada@example.org' --", "%", "_" * 15, "ada@example.org\u0000"):
            body = {"email": email, "password": "kettle-otter-sunday-19"}
            answer = await client.post("/v1/auth/login", json=body)
            assert answer.status_code in {400, 401}, email


async def test_a_password_that_would_be_long_to_estimate_is_not_estimated(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimate(*_: object) -> None:
        raise AssertionError("this takes seconds")

    monkeypatch.setattr("services.gateway.identity.passwords.zxcvbn", estimate)
    worst = ("4@8({[<369!|1+70$5%2" * 7)[:128]
    await gateway.identity.passwords.require_good(worst)
