"""Me: who is asking, what they may do, and what they change of themselves."""

from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.permission import PERMISSIONS
from tests.unit.gateway.conftest import client
from tests.unit.gateway.identity.world import (
    ADA,
    ANOTHER,
    BOB,
    PASSWORD,
    Postbox,
    bearer,
    deliver,
    log_in,
    make_user,
    refresh,
    try_login,
)
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, Clients, hear_catalog, make_active


async def test_a_key_and_a_user_are_told_who_they_are(gateway: Gateway) -> None:
    ada = await make_user(gateway, ADA, {"demo": Role.ADMIN, "other": Role.VIEWER})
    async with client(gateway, ADMIN_KEY) as key:
        me = (await key.get("/v1/me")).json()
    assert (me["actor"], me["project_id"], me["role"]) == ("key:environment", "demo", "admin")
    assert (me["user"], me["session_id"], me["scopes"]) == (None, None, None)
    tokens = await log_in(gateway)
    async with bearer(gateway, tokens) as user:
        me = (await user.get("/v1/me")).json()
    assert (me["project_id"], me["role"], me["session_id"]) == (None, None, tokens["session_id"])
    assert me["user"]["id"] == str(ada)
    assert me["user"]["memberships"] == {"demo": "admin", "other": "viewer"}
    assert "password" not in str(me)


async def test_permissions_are_those_that_routes_ask_for(gateway: Gateway) -> None:
    assert {"vm.read", "vm.create", "vm.reboot", "api_key.manage", "user.manage"} <= set(
        PERMISSIONS
    )
    await make_user(gateway, ADA, {"demo": Role.OPERATOR})
    async with bearer(gateway, await log_in(gateway)) as user:
        told = (await user.get("/v1/permissions")).json()
    allowed = {each["permission"]: each["allowed"] for each in told["permissions"]}
    assert allowed == {
        name: Role.OPERATOR.covers(role) for name, role in sorted(PERMISSIONS.items())
    }
    assert {each["possible"] for each in told["permissions"]} == {None}


async def test_a_vms_state_says_what_is_possible_besides(
    gateway: Gateway, clients: Clients
) -> None:
    await hear_catalog(gateway, *CATALOG)
    vm = await make_active(gateway, clients.operator)
    told = (await clients.viewer.get(f"/v1/permissions?vm_id={vm['id']}")).json()
    found = {p["permission"]: (p["allowed"], p["possible"]) for p in told["permissions"]}
    assert found["vm.stop"] == (False, True)
    assert found["vm.start"] == (False, False)
    assert found["vm.read"] == (True, None)
    await clients.operator.post(f"/v1/vms/{vm['id']}/stop")
    told = (await clients.operator.get(f"/v1/permissions?vm_id={vm['id']}")).json()
    found = {p["permission"]: (p["allowed"], p["possible"]) for p in told["permissions"]}
    assert found["vm.start"] == (True, True)
    stranger = await clients.stranger.get(f"/v1/permissions?vm_id={vm['id']}")
    assert stranger.status_code == 404


async def test_users_change_their_name_and_nothing_else(gateway: Gateway) -> None:
    await make_user(gateway, ADA)
    async with bearer(gateway, await log_in(gateway)) as user:
        assert (await user.patch("/v1/me", json={"name": "Ada L."})).json()["name"] == "Ada L."
        for beyond in ("is_admin", "state", "email", "memberships", "password", "id", "version"):
            answer = await user.patch("/v1/me", json={"name": "x", beyond: True})
            assert answer.status_code == 400, beyond
        assert (await user.get("/v1/me")).json()["user"]["name"] == "Ada L."


async def test_a_key_has_no_account_to_change(gateway: Gateway) -> None:
    async with client(gateway, ADMIN_KEY) as key:
        for method, path, body in (
            ("PATCH", "/v1/me", {"name": "x"}),
            ("POST", "/v1/me/password", {"current": PASSWORD, "password": ANOTHER}),
            ("POST", "/v1/me/email", {"email": BOB, "password": PASSWORD}),
            ("POST", "/v1/auth/logout-everywhere", None),
        ):
            answer = await key.request(method, path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path


async def test_a_password_is_changed_by_who_knows_it_and_all_sessions_end(
    gateway: Gateway, box: Postbox
) -> None:
    await make_user(gateway, ADA, {"demo": Role.VIEWER})
    tokens, other = await log_in(gateway), await log_in(gateway)
    async with bearer(gateway, tokens) as user:
        wrong = {"current": "wrong", "password": ANOTHER}
        assert (await user.post("/v1/me/password", json=wrong)).status_code == 401
        weak = {"current": PASSWORD, "password": "password1234"}
        assert (await user.post("/v1/me/password", json=weak)).status_code == 400
        right = {"current": PASSWORD, "password": ANOTHER}
        assert (await user.post("/v1/me/password", json=right)).status_code == 204
        assert (await user.get("/v1/me")).status_code == 401
    assert (await refresh(gateway, other)).status_code == 401
    assert (await try_login(gateway)).status_code == 401
    await log_in(gateway, ADA, ANOTHER)
    await deliver(gateway)
    assert [letter.to for letter in box.letters] == [ADA]


async def test_a_stolen_token_guesses_no_password(gateway: Gateway) -> None:
    await make_user(gateway, ADA)
    async with bearer(gateway, await log_in(gateway)) as thief:
        for n in range(6):
            guess = {"current": f"guess-{n}", "password": ANOTHER}
            assert (await thief.post("/v1/me/password", json=guess)).status_code == 401
        right = {"current": PASSWORD, "password": ANOTHER}
        assert (await thief.post("/v1/me/password", json=right)).status_code == 401
