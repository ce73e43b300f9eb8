"""Passkeys: registered and used by ceremonies whose questions are good once; a login without a password."""

import pytest

from chassis.testing import VirtualClock, said
from contracts.access.identity import FactorEnrolled, SessionOpened
from services.gateway.context import Gateway
from services.gateway.identity.users import change
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.authenticator import Authenticator
from tests.unit.gateway.identity.second import Person, passkey_login, person, post
from tests.unit.gateway.identity.world import CHEAP, bearer


@pytest.fixture
def key() -> Authenticator:
    return Authenticator()


@pytest.fixture
async def ada(gateway: Gateway, key: Authenticator) -> Person:
    """Has a passkey."""
    made = await person(gateway)
    assert (await made.enrol_passkey(key)).status_code == 201
    return made


async def test_a_passkey_is_asked_for_with_the_users_handle_and_not_their_address(
    gateway: Gateway,
) -> None:
    ada = await person(gateway)
    options = (await ada.ask("POST", "/v1/me/factors/passkey/options")).json()["options"]
    assert options["rp"] == {"id": "127.0.0.1", "name": "Hostler"}
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert "example" not in options["user"]["id"]


async def test_the_first_passkey_brings_recovery_codes_and_is_told(
    gateway: Gateway, key: Authenticator
) -> None:
    ada = await person(gateway)
    done = await ada.enrol_passkey(key)
    assert done.status_code == 201, done.text
    assert len(done.json()["recovery_codes"]) == 10
    [event] = [m.data for m in await said(gateway.database) if isinstance(m.data, FactorEnrolled)]
    assert event.kind == "passkey"


async def test_a_passkey_that_is_enrolled_is_not_made_again(
    ada: Person, key: Authenticator
) -> None:
    await ada.renew()
    options = (await ada.ask("POST", "/v1/me/factors/passkey/options")).json()["options"]
    assert len(options["excludeCredentials"]) == 1
    assert (await ada.enrol_passkey(key, "again")).status_code == 409


async def test_a_login_is_finished_with_a_passkey(ada: Person, key: Authenticator) -> None:
    half = await ada.begin()
    assert half["kinds"] == ["passkey", "recovery_code"]
    token = half["mfa_token"]
    asked = await post(ada.gateway, "/v1/auth/second-factor/options", mfa_token=token)
    options = asked.json()["options"]
    assert len(options["allowCredentials"]) == 1
    done = await ada.finish(half, passkey=key.get(options))
    assert done.status_code == 200, done.text


async def test_a_passkey_opens_a_session_without_a_password(
    ada: Person, key: Authenticator
) -> None:
    done = await passkey_login(ada.gateway, key)
    assert done.status_code == 200, done.text
    async with bearer(ada.gateway, done.json()) as client:
        assert (await client.get("/v1/me")).json()["user"]["id"] == str(ada.id)
    opened = [m.data for m in await said(ada.gateway.database) if isinstance(m.data, SessionOpened)]
    assert opened[-1].amr == ("pop", "user", "mfa")


async def test_a_question_of_one_gateway_is_answered_at_another(
    ada: Person, key: Authenticator, new_gateway: NewGateway
) -> None:
    replica = await new_gateway(password_memory=CHEAP)
    options = (await post(replica, "/v1/auth/passkey/options")).json()["options"]
    answer = await post(ada.gateway, "/v1/auth/passkey", passkey=key.get(options))
    assert answer.status_code == 200


async def test_a_question_is_too_old_after_five_minutes(
    ada: Person, key: Authenticator, clock: VirtualClock
) -> None:
    options = (await post(ada.gateway, "/v1/auth/passkey/options")).json()["options"]
    clock.advance(minutes=5)
    answer = await post(ada.gateway, "/v1/auth/passkey", passkey=key.get(options))
    assert answer.status_code == 401


async def test_a_key_that_does_not_count_is_taken_again_and_again(gateway: Gateway) -> None:
    ada, key = await person(gateway), Authenticator(counts=False)
    assert (await ada.enrol_passkey(key)).status_code == 201
    for _ in range(2):
        assert (await passkey_login(gateway, key)).status_code == 200


@pytest.mark.parametrize("state", ["locked", "disabled"])
async def test_who_is_locked_or_disabled_does_not_come_in(
    ada: Person, key: Authenticator, state: str
) -> None:
    gateway = ada.gateway
    async with gateway.database.session() as session:
        await change(session, ada.id, gateway.clock(), retoken=True, state=state)
    assert (await passkey_login(gateway, key)).status_code == 401


async def test_pages_and_domain_are_those_of_the_settings(new_gateway: NewGateway) -> None:
    gateway = await new_gateway(
        password_memory=CHEAP,
        public_url="https://api.example.org",
        passkey_domain="example.org",
        passkey_origins=["https://console.example.org"],
    )
    ada, key = await person(gateway), Authenticator("https://console.example.org")
    assert (await ada.enrol_passkey(key)).status_code == 201
    assert (await passkey_login(gateway, key)).status_code == 200
    key.origin = "https://api.example.org"
    assert (await passkey_login(gateway, key)).status_code == 401
