"""Users: who makes them, who changes what of them, and how soon it is so everywhere."""

import pytest
from sqlalchemy import select

from chassis.testing import VirtualClock, said
from contracts.access.identity import (
    SessionClosed,
    UserActivated,
    UserChanged,
    UserInvited,
)
from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.tables import MAIL, USERS
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.identity.world import (
    ADA,
    BOB,
    CHEAP,
    EVE,
    PASSWORD,
    Postbox,
    bearer,
    deliver,
    log_in,
    make_user,
    nobody,
    postbox,
    refresh,
    try_login,
)
from tests.unit.gateway.world import ADMIN_KEY

ADMIN, OPERATOR, VIEWER = Role.ADMIN, Role.OPERATOR, Role.VIEWER


async def set_password(gateway: Gateway, token: str, password: str = PASSWORD) -> int:
    async with nobody(gateway) as client:
        body = {"token": token, "password": password}
        return (await client.post("/v1/auth/password", json=body)).status_code


async def test_an_invited_user_chooses_a_password_and_logs_in(
    gateway: Gateway, box: Postbox
) -> None:
    await make_user(gateway, ADA, is_admin=True)
    tokens = await log_in(gateway)
    wanted = {"email": "Bob@Example.org", "name": "Bob", "memberships": {"demo": "operator"}}
    async with bearer(gateway, tokens) as ada:
        made = await ada.post("/v1/users", json=wanted)
    assert (made.status_code, made.json()["state"]) == (201, "invited")
    assert (await try_login(gateway, BOB)).status_code == 401
    await deliver(gateway)
    assert box.letters[-1].to == "Bob@example.org"
    assert await set_password(gateway, box.token()) == 204
    async with bearer(gateway, await log_in(gateway, BOB)) as bob:
        me = (await bob.get("/v1/me")).json()
    assert (me["project_id"], me["role"], me["user"]["state"]) == ("demo", "operator", "active")
    told = await said(gateway.database)
    assert [m.project_id for m in told if isinstance(m.data, UserInvited)] == ["demo"]
    assert [m.actor for m in told if isinstance(m.data, UserActivated)] == [
        f"user:{made.json()['id']}"
    ]
    assert not any("xample.org" in m.model_dump_json() for m in told)


async def test_one_person_has_one_account_however_they_write_their_address(
    gateway: Gateway,
) -> None:
    await make_user(gateway, ADA, is_admin=True)
    async with bearer(gateway, await log_in(gateway)) as ada:
        answer = await ada.post("/v1/users", json={"email": "ADA@example.ORG"})
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        for wrong in ("ada", "a@b@c", "a\r\nBcc: b@c.org", "a@b.org\n", "", "@", "a@localhost"):
            answer = await ada.post("/v1/users", json={"email": wrong})
            assert answer.status_code == 400, wrong


async def test_where_registration_is_closed_admins_of_projects_invite_nobody(
    gateway: Gateway,
) -> None:
    async with client(gateway, ADMIN_KEY) as key:
        body = {"email": BOB, "memberships": {"demo": "viewer"}}
        assert (await key.post("/v1/users", json=body)).status_code == 403


@pytest.mark.parametrize(
    "beyond",
    [
        {"is_admin": True, "memberships": {"demo": "viewer"}},
        {"memberships": {"other": "viewer"}},
        {"memberships": {"demo": "viewer", "other": "viewer"}},
        {},
    ],
)
async def test_an_admin_of_a_project_invites_into_it_alone(
    new_gateway: NewGateway, beyond: dict[str, object]
) -> None:
    gateway = await new_gateway(password_memory=CHEAP, registration="invitation")
    postbox(gateway)
    async with client(gateway, ADMIN_KEY) as key:
        refused = await key.post("/v1/users", json={"email": BOB, **beyond})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        made = await key.post("/v1/users", json={"email": BOB, "memberships": {"demo": "admin"}})
        assert made.status_code == 201
    assert made.json()["is_admin"] is False


async def test_a_role_that_changes_is_so_within_the_cache_time_and_after_a_refresh(
    gateway: Gateway, new_gateway: NewGateway, clock: VirtualClock
) -> None:
    await make_user(gateway, ADA, is_admin=True)
    bob = await make_user(gateway, BOB, {"demo": VIEWER})
    tokens = await log_in(gateway, BOB)
    replica = await new_gateway(password_memory=CHEAP)
    async with bearer(replica, tokens) as client_:
        assert (await client_.get("/v1/me")).json()["role"] == "viewer"
    async with bearer(gateway, await log_in(gateway)) as ada:
        wanted = {"memberships": {"demo": "admin", "other": "viewer"}}
        answer = await ada.patch(f"/v1/users/{bob}", json=wanted)
        assert answer.json()["memberships"] == {"demo": "admin", "other": "viewer"}
    clock.advance(seconds=6)
    async with bearer(replica, tokens) as client_:
        assert (await client_.get("/v1/me")).status_code == 401
    tokens = (await refresh(replica, tokens)).json()
    async with bearer(replica, tokens, "other") as client_:
        assert (await client_.get("/v1/me")).json()["role"] == "viewer"
    told = await said(gateway.database)
    changes = [(m.project_id, m.data) for m in told]
    assert {p: (d.old, d.new) for p, d in changes if isinstance(d, UserChanged)} == {
        "demo": ({"role": "viewer"}, {"role": "admin"}),
        "other": ({"role": None}, {"role": "viewer"}),
    }


async def test_who_is_taken_out_of_a_project_is_out_with_the_keys_that_they_made(
    gateway: Gateway,
) -> None:
    await make_user(gateway, ADA, is_admin=True)
    bob = await make_user(gateway, BOB, {"demo": ADMIN})
    async with bearer(gateway, await log_in(gateway, BOB)) as client_:
        made = await client_.post("/v1/api-keys", json={"name": "bobs", "role": "admin"})
    async with (
        bearer(gateway, await log_in(gateway)) as ada,
        client(gateway, made.json()["key"]) as key,
    ):
        assert (await key.get("/v1")).json()["caller"]["role"] == "admin"
        await ada.patch(f"/v1/users/{bob}", json={"memberships": {"demo": "viewer"}})
        assert (await key.get("/v1")).json()["caller"]["role"] == "viewer"
        await ada.patch(f"/v1/users/{bob}", json={"memberships": {"demo": None}})
        assert (await key.get("/v1")).status_code == 401


async def test_who_is_disabled_is_out_and_active_again_comes_in_anew(gateway: Gateway) -> None:
    await make_user(gateway, ADA, is_admin=True)
    bob = await make_user(gateway, BOB, {"demo": VIEWER})
    tokens = await log_in(gateway, BOB)
    async with bearer(gateway, await log_in(gateway)) as ada, bearer(gateway, tokens) as client_:
        assert (await client_.get("/v1/vms")).status_code == 200
        for state in ("disabled", "locked"):
            await ada.patch(f"/v1/users/{bob}", json={"state": state})
            assert (await client_.get("/v1/vms")).status_code == 401
            assert (await refresh(gateway, tokens)).status_code == 401
            assert (await try_login(gateway, BOB)).status_code == 401
            await ada.patch(f"/v1/users/{bob}", json={"state": "active"})
            tokens = await log_in(gateway, BOB)
    closed = [m.data for m in await said(gateway.database) if isinstance(m.data, SessionClosed)]
    assert [each.why for each in closed] == ["state", "state"]


async def test_an_admin_ends_a_lock_that_wrong_passwords_led_to(gateway: Gateway) -> None:
    await make_user(gateway, ADA, is_admin=True)
    bob = await make_user(gateway, BOB)
    tokens = await log_in(gateway)
    for _ in range(5):
        await try_login(gateway, BOB, "wrong")
    async with bearer(gateway, tokens) as ada:
        shown = (await ada.get(f"/v1/users/{bob}")).json()
        assert shown["state"] == "locked"
        assert shown["locked_until"] is not None
        answer = await ada.patch(f"/v1/users/{bob}", json={"state": "active"})
        assert (answer.json()["state"], answer.json()["locked_until"]) == ("active", None)
    await log_in(gateway, BOB)


async def test_the_platforms_last_admin_stays(gateway: Gateway) -> None:
    ada = await make_user(gateway, ADA, is_admin=True)
    bob = await make_user(gateway, BOB, is_admin=True)
    async with bearer(gateway, await log_in(gateway)) as client_:
        assert (
            await client_.patch(f"/v1/users/{bob}", json={"state": "locked"})
        ).status_code == 200
        for last in ({"state": "disabled"}, {"is_admin": False}):
            assert (await client_.patch(f"/v1/users/{ada}", json=last)).status_code == 409


async def test_an_invited_user_is_made_active_by_nobody_but_themselves(
    gateway: Gateway, box: Postbox
) -> None:
    await make_user(gateway, ADA, is_admin=True)
    async with bearer(gateway, await log_in(gateway)) as ada:
        bob = (await ada.post("/v1/users", json={"email": BOB})).json()["id"]
        answer = await ada.patch(f"/v1/users/{bob}", json={"state": "active"})
        assert answer.status_code == 409
        await deliver(gateway)
        assert (await ada.post(f"/v1/users/{bob}/invitation")).status_code == 202
        await deliver(gateway)
        assert len(box.letters) == 2
        assert await set_password(gateway, box.token()) == 204
        assert (await ada.post(f"/v1/users/{bob}/invitation")).status_code == 409


async def test_lists_have_pages_and_find_an_address(gateway: Gateway) -> None:
    await make_user(gateway, ADA, is_admin=True)
    await make_user(gateway, BOB, {"demo": VIEWER})
    await make_user(gateway, EVE)
    async with bearer(gateway, await log_in(gateway)) as ada:
        first = (await ada.get("/v1/users?limit=2")).json()
        rest = (await ada.get(first["links"]["next"])).json()
        found = (await ada.get("/v1/users?email=BOB@example.org")).json()["items"]
    assert [each["email"] for each in first["items"] + rest["items"]] == [ADA, BOB, EVE]
    assert [each["memberships"] for each in found] == [{"demo": "viewer"}]


async def test_a_project_that_is_not_there_is_nobodys(gateway: Gateway) -> None:
    await make_user(gateway, ADA, is_admin=True)
    async with bearer(gateway, await log_in(gateway)) as ada:
        answer = await ada.post("/v1/users", json={"email": BOB, "memberships": {"nope": "admin"}})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


async def test_the_first_admin_of_the_platform_is_invited_once(new_gateway: NewGateway) -> None:
    gateway = await new_gateway(password_memory=CHEAP, first_admin=ADA)
    box = postbox(gateway)
    for _ in range(2):
        async with gateway.database.session() as session:
            await gateway.identity.ensure_first_admin(session)
        await deliver(gateway)
    assert [letter.to for letter in box.letters] == [ADA]
    assert await set_password(gateway, box.token()) == 204
    async with bearer(gateway, await log_in(gateway)) as ada:
        assert (await ada.get("/v1/users")).status_code == 200


async def test_a_user_and_their_mail_are_there_together_or_not_at_all(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_user(gateway, ADA, is_admin=True)

    async def broken(*_: object, **__: object) -> None:
        raise ConnectionError("killed here")

    monkeypatch.setattr("services.gateway.routes.users.say", broken)
    async with bearer(gateway, await log_in(gateway)) as ada:
        assert (await ada.post("/v1/users", json={"email": BOB})).status_code == 503
    async with gateway.database.reading() as session:
        assert (await session.execute(select(MAIL.c.id))).first() is None
        assert len((await session.execute(select(USERS.c.id))).all()) == 1
