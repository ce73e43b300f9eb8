"""Who comes by a provider and has a second factor here is asked for it, unless the provider is trusted."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from chassis.testing import VirtualClock, said
from contracts.access.federation import IdentityUsed
from contracts.access.identity import FactorAsked, SessionOpened
from services.gateway.context import Gateway
from services.gateway.identity.challenges import LIFETIME
from services.gateway.identity.oidc.entry import LONGEST
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.authenticator import Authenticator
from tests.unit.gateway.identity.federated import LOGOUT, Fake, enter, federated, log_out_there
from tests.unit.gateway.identity.second import Person, person, post
from tests.unit.gateway.identity.world import bearer


@pytest.fixture
def fake(clock: VirtualClock) -> Fake:
    return Fake(clock)


@pytest.fixture
async def gateway(new_gateway: NewGateway, fake: Fake) -> Gateway:
    return await federated(new_gateway, fake, link_by_email=True)


@pytest.fixture
async def ada(gateway: Gateway) -> Person:
    """Has a password and an app, and the address for which the provider vouches."""
    made = await person(gateway, projects={})
    await made.enrol(steps=-1)
    return made


async def told(gateway: Gateway) -> list[Any]:
    kinds = (FactorAsked, SessionOpened, IdentityUsed)
    return [each.data for each in await said(gateway.database) if isinstance(each.data, kinds)]


async def me(gateway: Gateway, answer: httpx.Response) -> int:
    async with bearer(gateway, answer.json()) as using:
        return (await using.get("/v1/me")).status_code


async def test_a_providers_word_alone_is_half_a_login(ada: Person, fake: Fake) -> None:
    await told(ada.gateway)
    half = await enter(ada.gateway, fake)
    assert half.status_code == 202, half.text
    assert set(half.json()) == {"mfa_token", "kinds", "expires_in"}
    [asked] = await told(ada.gateway)
    assert isinstance(asked, FactorAsked)
    async with bearer(ada.gateway, half.json()["mfa_token"]) as using:
        assert (await using.get("/v1/me")).status_code == 401
    assert (await ada.finish(half.json(), code="000000")).status_code == 401


async def test_with_the_factor_it_is_whole_and_is_the_providers_session(
    ada: Person, fake: Fake
) -> None:
    fake.claims = {"sid": "there"}
    half = await enter(ada.gateway, fake)
    await told(ada.gateway)
    whole = await ada.finish(half.json(), code=ada.code())
    assert whole.status_code == 200, whole.text
    opened, used = await told(ada.gateway)
    assert opened.amr == ("fed", "otp", "mfa")
    assert (used.provider, used.session_id) == ("corp", UUID(whole.json()["session_id"]))
    assert await me(ada.gateway, whole) == 200
    event: dict[str, Any] = {"events": {LOGOUT: {}}, "jti": "j", "sub": None}
    assert await log_out_there(ada.gateway, fake.sign(event)) == 200
    assert await me(ada.gateway, whole) == 401


async def test_a_passkey_finishes_it_too(ada: Person, fake: Fake) -> None:
    key = Authenticator()
    assert (await ada.enrol_passkey(key)).status_code == 201
    half = (await enter(ada.gateway, fake)).json()
    asked = await post(ada.gateway, "/v1/auth/second-factor/options", mfa_token=half["mfa_token"])
    whole = await ada.finish(half, passkey=key.get(asked.json()["options"]))
    assert whole.status_code == 200, whole.text


@pytest.mark.parametrize("how", [{"sid": "there", "sub": None}, {"sub": "s-1"}], ids=["sid", "sub"])
async def test_a_logout_at_the_provider_ends_half_a_login_too(
    ada: Person, fake: Fake, how: dict[str, Any]
) -> None:
    fake.claims = {"sid": "there"}
    half = (await enter(ada.gateway, fake)).json()
    fake.claims = {}
    event: dict[str, Any] = {"events": {LOGOUT: {}}, "jti": "j", **how}
    assert await log_out_there(ada.gateway, fake.sign(event)) == 200
    assert (await ada.finish(half, code=ada.code())).status_code == 401


async def test_half_a_login_is_good_once_and_not_for_long(
    ada: Person, fake: Fake, clock: VirtualClock
) -> None:
    half = (await enter(ada.gateway, fake)).json()
    assert (await ada.finish(half, code=ada.code())).status_code == 200
    assert (await ada.finish(half, code=ada.code(1))).status_code == 401
    half = (await enter(ada.gateway, fake)).json()
    clock.advance(seconds=LIFETIME.total_seconds())
    assert (await ada.finish(half, code=ada.code())).status_code == 401


async def test_roles_follow_the_claims_before_the_factor_is_shown(ada: Person, fake: Fake) -> None:
    half = (await enter(ada.gateway, fake)).json()
    whole = (await ada.finish(half, code=ada.code())).json()
    async with bearer(ada.gateway, whole) as using:
        assert (await using.get("/v1/me")).json()["user"]["memberships"] == {"demo": "operator"}


async def test_the_longest_names_of_a_provider_fit(gateway: Gateway, fake: Fake) -> None:
    fake.claims = {"sub": "\N{GRINNING FACE}" * LONGEST, "sid": "\N{GRINNING FACE}" * LONGEST}
    fake.metadata = {"userinfo_endpoint": None}
    ada = Person(gateway, UUID(int=0), (await enter(gateway, fake)).json())
    await ada.enrol(steps=-1)
    half = await enter(gateway, fake)
    assert half.status_code == 202, half.text
    assert (await ada.finish(half.json(), code=ada.code())).status_code == 200


async def test_who_has_no_factor_here_comes_in_whole(gateway: Gateway, fake: Fake) -> None:
    assert (await enter(gateway, fake)).status_code == 200


async def test_a_provider_that_is_trusted_is_not_asked_twice(
    new_gateway: NewGateway, fake: Fake
) -> None:
    gateway = await federated(new_gateway, fake, second_factor="trust", link_by_email=True)
    ada = await person(gateway, projects={})
    await ada.enrol(steps=-1)
    whole = await enter(gateway, fake)
    assert whole.status_code == 200, whole.text
    # What is sensitive still asks for a factor that was shown here.
    async with bearer(gateway, whole.json()) as using:
        removed = await using.delete(f"/v1/me/factors/{ada.factor_id}")
    assert (removed.status_code, removed.json()["code"]) == (401, "step_up_required")
