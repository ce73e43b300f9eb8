"""A factor that is gone takes along what it had raised, in every session and at every gateway."""

import pytest

from chassis.testing import VirtualClock
from services.gateway.context import Gateway
from tests.unit.gateway.identity.authenticator import Authenticator
from tests.unit.gateway.identity.second import Person, passkey_login, person
from tests.unit.gateway.identity.world import bearer, refresh

KEY = {"name": "ci", "role": "viewer"}
RAISED, FLAT = 201, 401


@pytest.fixture
async def ada(gateway: Gateway) -> Person:
    """Has an app and a passkey, and has shown the app."""
    made = await person(gateway)
    await made.enrol(steps=-1)
    return made


async def enrolled(ada: Person) -> tuple[Authenticator, str]:
    """A passkey, and the id that it has as a factor."""
    key = Authenticator()
    made = await ada.enrol_passkey(key)
    await ada.renew()
    return key, made.json()["factor"]["id"]


async def elsewhere(ada: Person) -> Person:
    """Another session, begun with password and app."""
    whole = await ada.finish(await ada.begin(), code=ada.code())
    assert whole.status_code == 200, whole.text
    return Person(ada.gateway, ada.id, whole.json(), ada.email, ada.secret)


async def makes_a_key(who: Person, name: str) -> int:
    return (await who.ask("POST", "/v1/api-keys", KEY | {"name": name})).status_code


async def remove(ada: Person, factor_id: str) -> None:
    gone = await ada.ask("DELETE", f"/v1/me/factors/{factor_id}")
    assert gone.status_code == 204, gone.text


async def test_what_the_app_has_raised_elsewhere_is_raised_no_more(ada: Person) -> None:
    await enrolled(ada)
    other = await elsewhere(ada)
    assert await makes_a_key(other, "before") == RAISED
    await remove(ada, ada.factor_id)
    # Neither by the token that says otherwise yet, nor by the next one.
    assert await makes_a_key(other, "after") == FLAT
    assert (await other.ask("GET", "/v1/vms")).status_code == 401
    await other.renew()
    assert await makes_a_key(other, "renewed") == FLAT
    assert (await other.ask("GET", "/v1/vms")).status_code == 200


async def test_another_factor_raises_it_again(ada: Person) -> None:
    key, _ = await enrolled(ada)
    other = await elsewhere(ada)
    await remove(ada, ada.factor_id)
    await other.renew()
    asked = await other.ask("POST", "/v1/auth/step-up/options")
    raised = await other.step_up(passkey=key.get(asked.json()["options"]))
    assert raised.status_code == 200, raised.text
    assert await makes_a_key(other, "again") == RAISED


async def test_what_another_factor_has_raised_stays(ada: Person) -> None:
    await enrolled(ada)  # by which this session is raised from then on
    assert (await ada.ask("DELETE", f"/v1/me/factors/{ada.factor_id}")).status_code == 204
    assert await makes_a_key(ada, "still") == RAISED


async def test_a_session_that_began_with_a_lost_passkey_alone_ends(ada: Person) -> None:
    key, factor_id = await enrolled(ada)
    stolen = (await passkey_login(ada.gateway, key)).json()
    assert (await ada.step_up(code=ada.code())).status_code == 200
    await remove(ada, factor_id)
    async with bearer(ada.gateway, stolen) as thief:
        assert (await thief.get("/v1/vms")).status_code == 401
    assert (await refresh(ada.gateway, stolen)).status_code == 401
    await ada.renew()
    assert (await ada.ask("GET", "/v1/vms")).status_code == 200


async def test_with_the_last_factor_what_a_recovery_code_raised_goes_too(
    ada: Person, clock: VirtualClock
) -> None:
    other = await elsewhere(ada)
    clock.advance(minutes=6)
    assert (await ada.step_up(code=ada.code())).status_code == 200
    assert (await other.step_up(recovery_code=ada.codes[0])).status_code == 200
    await remove(ada, ada.factor_id)
    await other.renew()
    # Without any factor the password is what is asked for, and that was longer ago.
    refused = await other.ask("POST", "/v1/me/factors/totp", {"name": "mine"})
    assert (refused.status_code, refused.json()["code"]) == (401, "step_up_required")
