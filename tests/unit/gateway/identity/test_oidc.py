"""What a provider signs is believed only as its standards allow; roles come and go with claims."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey
from pydantic import JsonValue

from chassis.testing import VirtualClock, said
from contracts.access.federation import IdentityRefused
from contracts.access.identity import UserChanged
from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.oidc.claims import ClaimRule, roles_by
from services.gateway.identity.oidc.provider import APART
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.federated import (
    LOGOUT,
    RULES,
    SECRET,
    Fake,
    enter,
    federated,
    log_out_there,
)
from tests.unit.gateway.identity.world import bearer, make_user, nobody, try_login

Change = Callable[["Fake"], None]


@pytest.fixture
def fake(clock: VirtualClock) -> Fake:
    return Fake(clock)


@pytest.fixture
async def gateway(new_gateway: NewGateway, fake: Fake) -> Gateway:
    return await federated(new_gateway, fake)


async def roles(gateway: Gateway, answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    async with bearer(gateway, answer.json()) as using:
        return (await using.get("/v1/me")).json()["user"]["memberships"]


def as_nobody(fake: Fake) -> None:
    fake.header, fake.forges_with = {"alg": "none"}, b""


def with_the_public_key_as_a_secret(fake: Fake) -> None:
    fake.header = {"alg": "HS256", "kid": "one"}
    fake.forges_with = fake.key.as_pem(private=False)


def with_the_clients_secret(fake: Fake) -> None:
    fake.header, fake.signed_with = {"alg": "HS256"}, OctKey.import_key(SECRET)


def with_a_key_of_their_own(fake: Fake) -> None:
    fake.signed_with = RSAKey.generate_key(2048)


def with_a_key_that_they_bring(fake: Fake) -> None:
    fake.signed_with = own = RSAKey.generate_key(2048)
    fake.header |= {"jwk": own.as_dict(private=False), "kid": "two"}


def with_an_algorithm_that_is_not_offered(fake: Fake) -> None:
    key = ECKey.generate_key("P-256", {"kid": "ec"})
    fake.metadata = {"id_token_signing_alg_values_supported": ["RS256"]}
    fake.header, fake.signed_with, fake.shown = {"alg": "ES256", "kid": "ec"}, key, [key]


def as_an_access_token(fake: Fake) -> None:
    fake.header |= {"typ": "at+jwt"}


def saying(**claims: object) -> Change:
    def say(fake: Fake) -> None:
        fake.claims = claims

    say.__name__ = "saying " + ", ".join(claims)
    return say


def named(change: Change) -> str:
    return change.__name__


@pytest.mark.parametrize(
    "change",
    [
        as_nobody,
        with_the_public_key_as_a_secret,
        with_the_clients_secret,
        with_a_key_of_their_own,
        with_a_key_that_they_bring,
        with_an_algorithm_that_is_not_offered,
        as_an_access_token,
        saying(iss="https://evil.example.org"),
        saying(aud="another"),
        saying(aud=["hostler", "another"]),
        saying(azp="another"),
        saying(nonce=None),
        saying(exp=None),
        saying(exp=1),
        saying(exp="never"),
        saying(iat=None),
        saying(iat=1),
        saying(iat=4_000_000_000),
        saying(sub=None),
        saying(sub=""),
        saying(sub=["s-1"]),
        saying(sub="s" * 256),
        saying(sub="s-2"),
    ],
    ids=named,
)
async def test_an_id_token_that_does_not_hold_lets_nobody_in(
    gateway: Gateway, fake: Fake, change: Change
) -> None:
    """The last one: the token is of one person, what the provider adds about another."""
    change(fake)
    answer = await enter(gateway, fake)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), answer.text
    events = [m.data for m in await said(gateway.database)]
    assert [e.why for e in events if isinstance(e, IdentityRefused)] == ["token"]
    assert len(events) == 1


async def test_a_nonce_is_of_one_login(gateway: Gateway, fake: Fake) -> None:
    assert (await enter(gateway, fake, nonce="another")).status_code == 401
    assert (await enter(gateway, fake)).status_code == 200


async def test_roles_go_when_the_claims_go_and_what_an_admin_gave_stays(
    gateway: Gateway, fake: Fake
) -> None:
    await make_user(gateway, "chief@example.org", is_admin=True)
    first = await enter(gateway, fake)
    assert await roles(gateway, first) == {"demo": "operator"}
    async with bearer(gateway, first.json()) as using:
        path = f"/v1/users/{(await using.get('/v1/me')).json()['user']['id']}"
    fake.groups = ["ops", "chiefs"]
    assert await roles(gateway, await enter(gateway, fake)) == {"demo": "admin"}
    async with bearer(gateway, (await try_login(gateway, "chief@example.org")).json()) as chief:
        for lesser in (None, "viewer"):
            refused = await chief.patch(path, json={"memberships": {"demo": lesser}})
            assert refused.status_code == 409, "the claims give it"
        fake.groups = ["ops"]
        assert await roles(gateway, await enter(gateway, fake)) == {"demo": "operator"}
        given = {"demo": "admin", "other": "viewer"}
        assert (await chief.patch(path, json={"memberships": given})).status_code == 200
    fake.groups = []
    assert await roles(gateway, await enter(gateway, fake)) == given
    async with bearer(gateway, first.json()) as using:
        assert (await using.get("/v1/vms")).status_code == 401, "a token with the roles of before"
    told = [(m.actor, m.data) for m in await said(gateway.database)]
    by_rules = [d.new for a, d in told if isinstance(d, UserChanged) and a == "oidc:corp"]
    assert by_rules == [{"role": "operator"}, {"role": "admin"}, {"role": "operator"}]


async def test_claims_of_userinfo_count_and_do_not_override_what_was_signed(
    gateway: Gateway, fake: Fake
) -> None:
    fake.userinfo = {"groups": ["chiefs"], "email": "bob@example.org"}
    assert await roles(gateway, await enter(gateway, fake)) == {"demo": "operator"}
    fake.claims = {"groups": None}
    assert await roles(gateway, await enter(gateway, fake)) == {"demo": "admin"}


async def test_a_provider_that_changes_its_key_is_asked_once_for_the_new_one(
    gateway: Gateway, fake: Fake, clock: VirtualClock
) -> None:
    assert (await enter(gateway, fake)).status_code == 200
    clock.advance(seconds=APART.total_seconds() + 1)
    fake.signed_with = new = RSAKey.generate_key(2048, {"kid": "two"})
    fake.shown.append(new)
    fake.header = {"alg": "RS256", "kid": "two"}
    assert (await enter(gateway, fake)).status_code == 200
    fake.header = {"alg": "RS256", "kid": "nobodys"}
    for _ in range(5):
        assert (await enter(gateway, fake)).status_code == 401
    assert fake.asked.count("/jwks") == 2


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example.org"},
        {"token_endpoint": "http://127.0.0.1:1/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": None},
    ],
)
async def test_a_provider_that_describes_itself_oddly_is_not_used(
    gateway: Gateway, fake: Fake, metadata: dict[str, Any]
) -> None:
    fake.metadata = metadata
    async with nobody(gateway) as using:
        assert (await using.get("/v1/auth/oidc/corp/login")).status_code == 503


async def test_a_provider_that_goes_in_the_middle_of_a_login_leaves_nothing(
    gateway: Gateway, fake: Fake
) -> None:
    async with nobody(gateway) as using:
        sent = await using.get("/v1/auth/oidc/corp/login")
        state = parse_qs(urlsplit(sent.headers["location"]).query)["state"][0]
        fake.is_down = True
        params = {"state": state, "code": "c"}
        answer = await using.get("/v1/auth/oidc/corp/callback", params=params)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert await said(gateway.database) == []
    fake.is_down = False
    assert (await enter(gateway, fake)).status_code == 200


async def test_a_logout_token_is_good_once_and_only_if_it_is_one(
    gateway: Gateway, fake: Fake
) -> None:
    tokens = await enter(gateway, fake)
    event: dict[str, Any] = {"events": {LOGOUT: {}}, "jti": "j-1"}
    wrongs: list[dict[str, Any]] = [
        {"jti": "j-1"},
        {**event, "nonce": "n"},
        {**event, "events": {"other": {}}},
        {**event, "jti": None},
        {**event, "sub": None},
        {**event, "aud": "another"},
        {**event, "iat": 1},
    ]
    for wrong in wrongs:
        assert await log_out_there(gateway, fake.sign(wrong)) == 400, wrong
    assert await log_out_there(gateway, "x.y.z") == 400
    assert (await roles(gateway, tokens)) == {"demo": "operator"}
    token = fake.sign(event)
    assert await log_out_there(gateway, token) == 200
    assert await log_out_there(gateway, token) == 400
    async with bearer(gateway, tokens.json()) as using:
        assert (await using.get("/v1/me")).status_code == 401


async def test_a_logout_that_is_told_before_the_login_ends_is_not_forgotten(
    gateway: Gateway, fake: Fake
) -> None:
    event: dict[str, Any] = {"events": {LOGOUT: {}}, "jti": "j-2", "sid": "at-the-provider"}
    assert await log_out_there(gateway, fake.sign(event)) == 200
    fake.claims = {"sid": "at-the-provider"}
    assert (await enter(gateway, fake)).status_code == 401


def test_a_rule_asks_for_the_whole_value_and_the_greatest_role_holds() -> None:
    rules = [ClaimRule.model_validate(each) for each in RULES[:2]]
    nested = ClaimRule(claim="realm.roles", equals="x", project="demo", role=Role.VIEWER)
    dotted = ClaimRule(claim="https://a.b/c", equals="x", project="demo", role=Role.VIEWER)
    assert roles_by(rules, {"groups": ["chiefs", "ops"]}) == {"demo": Role.ADMIN}
    assert roles_by(rules, {"groups": "ops"}) == {"demo": Role.OPERATOR}
    others: list[JsonValue] = [["devops", "OPS", 1], {"ops": True}, "ops ", None]
    for groups in others:
        assert roles_by(rules, {"groups": groups}) == {}, groups
    assert roles_by([nested], {"realm": {"roles": ["x"]}}) == {"demo": Role.VIEWER}
    assert roles_by([dotted], {"https://a.b/c": "x"}) == {"demo": Role.VIEWER}


def _said(answer: httpx.Response) -> dict[str, str]:
    """The one cookie of an answer: its name, and its attributes by small letters."""
    [said] = answer.headers.get_list("set-cookie")
    first, *rest = [each.partition("=") for each in said.split("; ")]
    return {"name": first[0], **{name.lower(): value for name, _, value in rest}}


@pytest.mark.parametrize(
    ("scheme", "named"),
    [
        ("http", {"name": "hostler-login"}),
        ("https", {"name": "__Host-hostler-login", "secure": ""}),
    ],
)
async def test_the_cookie_of_a_login_is_for_its_site_alone_and_goes_with_the_login(
    new_gateway: NewGateway, fake: Fake, scheme: str, named: dict[str, str]
) -> None:
    url = f"{scheme}://hostler.example.org"
    gateway = await federated(new_gateway, fake, public_url=url)
    # No Domain: no other host of the site gets it, either.
    always = {"httponly": "", "samesite": "lax", "path": "/"} | named
    transport = httpx.ASGITransport(gateway.app)
    async with httpx.AsyncClient(transport=transport, base_url=url) as browser:
        sent = await browser.get("/v1/auth/oidc/corp/login")
        assert _said(sent) == always | {"max-age": "600"}
        query = parse_qs(urlsplit(sent.headers["location"]).query)
        fake.nonce = query["nonce"][0]
        params = {"state": query["state"][0], "code": "c"}
        back = await browser.get("/v1/auth/oidc/corp/callback", params=params)
        assert back.status_code == 200, back.text
        gone = _said(back)
        assert gone.pop("expires")
        assert gone == always | {"max-age": "0"}
        assert not browser.cookies
