"""Step-up: sensitive actions ask a user who has a second factor for a fresh one; keys are not asked."""

import base64
import json
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from chassis.testing import VirtualClock, said
from contracts.access.events import Refused
from contracts.access.identity import SessionRaised
from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.tables import SESSIONS
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.identity.authenticator import Authenticator
from tests.unit.gateway.identity.second import Person, person
from tests.unit.gateway.identity.world import BOB, CHEAP, PASSWORD, log_in
from tests.unit.gateway.world import ADMIN_KEY

KEY: dict[str, Any] = {"name": "ci", "role": "viewer"}


@pytest.fixture
async def ada(gateway: Gateway) -> Person:
    made = await person(gateway)
    await made.enrol(steps=-1)
    return made


def claims(person: Person) -> dict[str, Any]:
    part = person.tokens["access_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=="))


def asks_to_step_up(answer: httpx.Response) -> bool:
    told = answer.headers.get("www-authenticate", "")
    says_how = 'error="insufficient_user_authentication"' in told and 'max_age="300"' in told
    return answer.status_code == 401 and says_how


async def test_a_token_says_how_and_when_its_user_showed_that_it_is_them(
    gateway: Gateway, clock: VirtualClock
) -> None:
    ada, began = await person(gateway), int(clock().timestamp())
    assert (claims(ada)["amr"], claims(ada)["auth_time"]) == (["pwd"], began)
    await ada.enrol()
    assert claims(ada)["amr"] == ["pwd", "otp", "mfa"]


async def test_a_refresh_keeps_both_and_never_raises_them(ada: Person, clock: VirtualClock) -> None:
    before = claims(ada)
    clock.advance(minutes=20)
    await ada.renew()
    after = claims(ada)
    assert [after[name] for name in ("amr", "auth_time")] == [
        before[name] for name in ("amr", "auth_time")
    ]
    assert asks_to_step_up(await ada.ask("POST", "/v1/api-keys", KEY))


async def test_a_fresh_second_factor_makes_a_key_and_an_old_one_does_not(
    ada: Person, clock: VirtualClock
) -> None:
    assert (await ada.ask("POST", "/v1/api-keys", KEY)).status_code == 201
    clock.advance(minutes=5, seconds=1)
    answer = await ada.ask("POST", "/v1/api-keys", KEY | {"name": "other"})
    assert asks_to_step_up(answer)
    body = answer.json()
    assert (body["code"], body["step_up"], body["max_age"]) == (
        "step_up_required",
        "/v1/auth/step-up",
        300,
    )
    stepped = await ada.step_up(code=ada.code())
    assert stepped.status_code == 200, stepped.text
    assert claims(ada)["auth_time"] == int(clock().timestamp())
    assert (await ada.ask("POST", "/v1/api-keys", KEY | {"name": "other"})).status_code == 201


async def test_what_was_refused_and_what_was_raised_is_audited(
    ada: Person, clock: VirtualClock
) -> None:
    clock.advance(minutes=6)
    await ada.ask("POST", "/v1/api-keys", KEY)
    await ada.step_up(code=ada.code())
    told = [m.data for m in await said(ada.gateway.database)]
    [refused] = [each for each in told if isinstance(each, Refused)]
    assert (refused.permission, refused.path) == ("step_up", "/v1/api-keys")
    raised = [each for each in told if isinstance(each, SessionRaised)]
    assert raised[-1].amr == ("pwd", "otp", "mfa")


async def test_reading_asks_for_nothing(ada: Person, clock: VirtualClock) -> None:
    clock.advance(minutes=6)
    assert (await ada.ask("GET", "/v1/api-keys")).status_code == 200
    assert (await ada.ask("GET", "/v1/users")).status_code == 200


async def test_a_user_without_a_factor_and_a_key_are_not_asked(
    gateway: Gateway, clock: VirtualClock
) -> None:
    bob = await person(gateway, BOB)
    clock.advance(minutes=6)
    assert (await bob.ask("POST", "/v1/api-keys", KEY)).status_code == 201
    async with client(gateway, ADMIN_KEY) as by_key:
        made = await by_key.post("/v1/api-keys", json=KEY | {"name": "by key"})
    assert made.status_code == 201


async def test_roles_users_and_keys_of_tokens_ask_admins_of_the_platform_too(
    gateway: Gateway, clock: VirtualClock
) -> None:
    root = await person(gateway, projects={}, is_admin=True)
    await root.enrol(steps=-1)
    bob = await person(gateway, BOB, {"demo": Role.VIEWER})
    clock.advance(minutes=6)
    for method, path, body in (
        ("POST", "/v1/users", {"email": "eve@example.org"}),
        ("PATCH", f"/v1/users/{bob.id}", {"memberships": {"demo": "admin"}}),
        ("POST", "/v1/auth/token-keys", {}),
        ("DELETE", f"/v1/users/{bob.id}/factors", None),
    ):
        assert asks_to_step_up(await root.ask(method, path, body)), path
    await root.step_up(code=root.code())
    assert (await root.ask("POST", "/v1/auth/token-keys", {})).status_code == 201


async def test_the_actions_and_the_age_are_settings(
    new_gateway: NewGateway, clock: VirtualClock
) -> None:
    gateway = await new_gateway(
        password_memory=CHEAP, step_up_actions=["vm.delete"], step_up_age="PT30S"
    )
    ada = await person(gateway)
    await ada.enrol(steps=-1)
    clock.advance(seconds=31)
    assert (await ada.ask("POST", "/v1/api-keys", KEY)).status_code == 201
    gone = await ada.ask("DELETE", f"/v1/vms/{ada.id}")
    assert (gone.status_code, gone.json()["max_age"]) == (401, 30)


async def test_a_passkey_and_a_recovery_code_step_up_as_well(
    ada: Person, clock: VirtualClock
) -> None:
    key = Authenticator()
    assert (await ada.enrol_passkey(key)).status_code == 201
    clock.advance(minutes=6)
    options = (await ada.ask("POST", "/v1/auth/step-up/options")).json()["options"]
    assert (await ada.step_up(passkey=key.get(options))).status_code == 200
    assert (await ada.ask("POST", "/v1/api-keys", KEY)).status_code == 201
    assert (await ada.step_up(recovery_code=ada.codes[0])).status_code == 200


async def test_a_password_is_no_step_up_for_who_has_a_factor(ada: Person) -> None:
    assert asks_to_step_up(await ada.step_up(password=PASSWORD))


async def test_a_wrong_code_raises_nothing_and_locks_like_those_at_login(
    ada: Person, clock: VirtualClock
) -> None:
    clock.advance(minutes=6)
    for _ in range(5):
        assert (await ada.step_up(code="000000")).status_code == 401
    assert (await ada.step_up(code=ada.code())).status_code == 401
    assert asks_to_step_up(await ada.ask("POST", "/v1/api-keys", KEY))
    assert (await ada.finish(await ada.begin(), code=ada.code())).status_code == 401


async def test_a_session_that_was_ended_is_not_raised(ada: Person) -> None:
    gateway = ada.gateway
    assert (await ada.ask("GET", "/v1/me")).status_code == 200  # believed for some seconds
    async with gateway.database.session() as session:
        await session.execute(update(SESSIONS).values(closed_at=gateway.clock()))
    assert (await ada.step_up(code=ada.code())).status_code == 401


async def test_enrolling_asks_for_a_password_that_was_given_just_now(
    gateway: Gateway, clock: VirtualClock
) -> None:
    ada = await person(gateway)
    clock.advance(minutes=6)
    assert asks_to_step_up(await ada.ask("POST", "/v1/me/factors/totp", {"name": "phone"}))
    assert (await ada.step_up(password="wrong")).status_code == 401
    assert (await ada.step_up(password=PASSWORD)).status_code == 200
    await ada.enrol()


async def test_who_has_a_factor_shows_it_before_they_change_any(
    ada: Person, clock: VirtualClock
) -> None:
    clock.advance(minutes=6)
    for method, path, body in (
        ("POST", "/v1/me/factors/totp", {"name": "mine"}),
        ("POST", "/v1/me/factors/passkey/options", None),
        ("DELETE", f"/v1/me/factors/{ada.factor_id}", None),
        ("POST", "/v1/me/recovery-codes", None),
    ):
        assert asks_to_step_up(await ada.ask(method, path, body)), path


async def test_who_has_to_have_a_factor_may_only_enrol_until_they_have(
    new_gateway: NewGateway,
) -> None:
    gateway = await new_gateway(password_memory=CHEAP, factors_required="admin")
    ada, bob = await person(gateway), await person(gateway, BOB, {"demo": Role.OPERATOR})
    for method, path in (("GET", "/v1/vms"), ("GET", "/v1/me"), ("POST", "/v1/api-keys")):
        answer = await ada.ask(method, path, KEY if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (403, "factor_required"), path
        assert answer.json()["enrol"] == "/v1/me/factors/totp"
    assert (await bob.ask("GET", "/v1/vms")).status_code == 200
    await ada.enrol()
    assert (await ada.ask("GET", "/v1/vms")).status_code == 200
    await ada.ask("DELETE", f"/v1/me/factors/{ada.factor_id}")
    await ada.renew()
    assert (await ada.ask("GET", "/v1/vms")).status_code == 403


async def test_who_has_to_have_a_factor_has_to_show_it_in_sessions_of_before(
    new_gateway: NewGateway,
) -> None:
    ada = await person(await new_gateway(password_memory=CHEAP))
    other = await log_in(ada.gateway)
    await ada.enrol(steps=-1)
    ada.gateway = await new_gateway(password_memory=CHEAP, factors_required="admin")
    ada.tokens = other
    assert asks_to_step_up(await ada.ask("GET", "/v1/vms"))
    assert (await ada.step_up(code=ada.code())).status_code == 200
    assert (await ada.ask("GET", "/v1/vms")).status_code == 200
