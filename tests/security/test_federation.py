"""Logins by a real provider, as they should be, and as somebody would who wants to be somebody else."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from chassis.testing import VirtualClock, said
from contracts.access.federation import IdentityLinked, IdentityRefused, IdentityUsed
from contracts.access.identity import SessionClosed
from contracts.identity import Role
from contracts.message import utc_now
from deploy.local.processes import free_port
from services.gateway.context import Gateway
from services.gateway.identity.oidc.tables import IDENTITIES
from tests.infra.oidc_provider import RunningProvider, running_provider
from tests.security.served import served
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.world import CHEAP, bearer, deliver, make_user, postbox, try_login

GATEWAY = "http://gateway"
SECRET = "s3cret-of-the-client-0123456789abcdef"
PEOPLE = {
    "ada": {"email": "ada@example.org", "email_verified": True, "name": "Ada", "groups": ["ops"]},
    "bob": {"email": "bob@example.org", "email_verified": True, "name": "Bob"},
    "eve": {"email": "bob@example.org", "email_verified": False, "groups": ["ops"]},
    "root": {"email": "root@example.org", "email_verified": True},
}
RULES = [{"claim": "groups", "equals": "ops", "project": "demo", "role": "operator"}]


@dataclass(frozen=True)
class Providers:
    """Two of them, and where the first one tells of logouts."""

    corp: RunningProvider
    other: RunningProvider
    hears_at: int


def client(name: str, hears_at: int) -> dict[str, object]:
    return {
        "client_id": "hostler",
        "client_secret": SECRET,
        "redirect_uris": [f"{GATEWAY}/v1/auth/oidc/{name}/callback"],
        "post_logout_redirect_uris": ["http://console/bye"],
        "backchannel_logout_uri": (
            f"http://127.0.0.1:{hears_at}/v1/auth/oidc/{name}/backchannel-logout"
        ),
        "backchannel_logout_session_required": True,
    }


pytestmark = pytest.mark.timeout(300)  # the first run installs the provider


@pytest.fixture(scope="module")
def providers() -> Iterator[Providers]:
    port = free_port()
    with (
        running_provider(PEOPLE, [client("corp", port)]) as corp,
        running_provider(PEOPLE, [client("other", port)]) as other,
    ):
        yield Providers(corp, other, port)


@pytest.fixture
def clock() -> VirtualClock:
    """The provider's time is the real one."""
    return VirtualClock(utc_now())


@pytest.fixture
async def gateway(new_gateway: NewGateway, providers: Providers) -> Gateway:
    return await made(new_gateway, providers)


async def made(new_gateway: NewGateway, providers: Providers, **how: object) -> Gateway:
    settings: dict[str, object] = {"client_id": "hostler", "client_secret": SECRET, "rules": RULES}
    settings |= {"scopes": ["openid", "email", "profile", "groups"], **how}
    return await new_gateway(
        password_memory=CHEAP,
        public_url=GATEWAY,
        oidc_logged_out_url="http://console/bye",
        oidc_providers={
            "corp": {"issuer": providers.corp.issuer, **settings},
            "other": {"issuer": providers.other.issuer, **settings},
        },
    )


@asynccontextmanager
async def browser(gateway: Gateway) -> AsyncGenerator[httpx.AsyncClient]:
    """One that talks to the gateway and to providers, and keeps the cookies of each."""
    mounts = {GATEWAY: httpx.ASGITransport(gateway.app)}
    async with httpx.AsyncClient(mounts=mounts, trust_env=False, timeout=30) as made:
        yield made


async def begin(using: httpx.AsyncClient, name: str = "corp") -> str:
    answer = await using.get(f"{GATEWAY}/v1/auth/oidc/{name}/login")
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def come_back(using: httpx.AsyncClient, providers: Providers, who: str) -> str:
    """As far as the address to which the provider sends the browser back."""
    return await providers.corp.log_in(using, await begin(using), who)


async def enter(gateway: Gateway, providers: Providers, who: str) -> httpx.Response:
    async with browser(gateway) as using:
        return await using.get(await come_back(using, providers, who))


async def me(gateway: Gateway, tokens: dict[str, Any]) -> dict[str, Any]:
    async with bearer(gateway, tokens) as client:
        return (await client.get("/v1/me")).json()


async def whys(gateway: Gateway) -> list[str]:
    return [m.data.why for m in await said(gateway.database) if isinstance(m.data, IdentityRefused)]


def altered(url: str, **query: str | None) -> str:
    parts = urlsplit(url)
    asked = {name: each[0] for name, each in parse_qs(parts.query).items()} | query
    kept = {name: value for name, value in asked.items() if value is not None}
    return parts._replace(query=urlencode(kept)).geturl()


async def test_somebody_comes_in_by_a_provider_with_the_roles_that_their_claims_give(
    gateway: Gateway, providers: Providers
) -> None:
    answer = await enter(gateway, providers, "ada")
    assert answer.status_code == 200, answer.text
    who = await me(gateway, answer.json())
    assert (who["user"]["email"], who["user"]["name"]) == ("ada@example.org", "Ada")
    assert (who["project_id"], who["role"]) == ("demo", "operator")
    assert who["user"]["memberships"] == {"demo": "operator"}
    events = [m.data for m in await said(gateway.database)]
    assert [e.by for e in events if isinstance(e, IdentityLinked)] == ["creation"]
    assert [e.provider for e in events if isinstance(e, IdentityUsed)] == ["corp"]
    again = await enter(gateway, providers, "ada")
    assert (await me(gateway, again.json()))["user"]["id"] == who["user"]["id"]


async def test_who_came_by_a_provider_has_no_password_and_is_sent_no_link_to_one(
    gateway: Gateway, providers: Providers
) -> None:
    assert (await enter(gateway, providers, "ada")).status_code == 200
    assert (await try_login(gateway, "ada@example.org", "")).status_code == 400
    assert (await try_login(gateway, "ada@example.org", "any")).status_code == 401
    box = postbox(gateway)
    async with browser(gateway) as using:
        asked = await using.post(f"{GATEWAY}/v1/auth/forgot", json={"email": "ada@example.org"})
    assert asked.status_code == 202
    await deliver(gateway)
    assert box.letters == []


async def test_another_browser_cannot_end_a_login(gateway: Gateway, providers: Providers) -> None:
    async with browser(gateway) as hers, browser(gateway) as his:
        back = await come_back(hers, providers, "ada")
        assert (await his.get(back)).status_code == 401  # no cookie
        await begin(his)
        assert (await his.get(back)).status_code == 401  # the cookie of another login
        assert (await hers.get(altered(back, state="x"))).status_code == 401
        assert (await hers.get(altered(back, state=None))).status_code == 401
    assert await whys(gateway) == ["browser"] * 4


async def test_a_login_is_good_once_however_often_it_comes_back(
    gateway: Gateway, providers: Providers
) -> None:
    async with browser(gateway) as using:
        back = await come_back(using, providers, "ada")
        kept = using.cookies["hostler-login"]
        first, *others = await asyncio.gather(*[using.get(back) for _ in range(4)])
        statuses = sorted(each.status_code for each in (first, *others))
        assert statuses == [200, 401, 401, 401]
        using.cookies.set("hostler-login", kept)
        assert (await using.get(back)).status_code == 401


async def test_a_code_of_another_login_is_worth_nothing(
    gateway: Gateway, providers: Providers
) -> None:
    """Its verifier (PKCE) and its nonce stayed in the other browser."""
    async with browser(gateway) as eves, browser(gateway) as adas:
        stolen = parse_qs(urlsplit(await come_back(eves, providers, "ada")).query)["code"][0]
        back = await come_back(adas, providers, "bob")
        answer = await adas.get(altered(back, code=stolen))
        assert (answer.status_code, "access_token" in answer.text) == (401, False)
    assert await whys(gateway) == ["token"]


async def test_a_nonce_that_is_another_one_is_refused(
    gateway: Gateway, providers: Providers
) -> None:
    async with browser(gateway) as using:
        url = altered(await begin(using), nonce="another")
        answer = await using.get(await providers.corp.log_in(using, url, "ada"))
        assert answer.status_code == 401
        assert "nonce" in answer.json()["detail"]


async def test_answers_of_one_provider_are_not_taken_for_those_of_another(
    gateway: Gateway, providers: Providers
) -> None:
    async with browser(gateway) as using:
        back = await come_back(using, providers, "ada")
        mixed = back.replace("/oidc/corp/", "/oidc/other/")
        assert (await using.get(mixed)).status_code == 401
        assert (await using.get(altered(back, iss=providers.other.issuer))).status_code == 401
        assert (await using.get(altered(back, iss=None))).status_code == 401
        await begin(using, "other")
        assert (await using.get(mixed)).status_code == 401
    assert await whys(gateway) == ["browser", "provider", "provider", "browser"]


async def test_a_provider_that_says_no_lets_nobody_in(
    gateway: Gateway, providers: Providers
) -> None:
    async with browser(gateway) as using:
        state = parse_qs(urlsplit(await begin(using)).query)["state"][0]
        asked = {"state": state, "iss": providers.corp.issuer, "error": "access_denied<script>"}
        answer = await using.get(f"{GATEWAY}/v1/auth/oidc/corp/callback?{urlencode(asked)}")
        assert answer.status_code == 401
        assert "access_deniedscript" in answer.json()["detail"]


async def test_an_address_that_the_provider_does_not_vouch_for_takes_no_account(
    gateway: Gateway, new_gateway: NewGateway, providers: Providers
) -> None:
    await make_user(gateway, "bob@example.org", {"demo": Role.ADMIN})
    linking = await made(new_gateway, providers, link_by_email=True)
    for each in (gateway, linking):
        answer = await enter(each, providers, "eve")
        assert answer.status_code == 403, answer.text
    assert await whys(gateway) == ["email", "email"]
    async with gateway.database.reading() as session:
        assert (await session.execute(select(IDENTITIES))).all() == []


async def test_an_address_alone_is_no_way_into_an_account_unless_a_setting_says_so(
    gateway: Gateway, new_gateway: NewGateway, providers: Providers
) -> None:
    bob = await make_user(gateway, "bob@example.org", {"other": Role.VIEWER})
    await make_user(gateway, "root@example.org", is_admin=True)
    assert (await enter(gateway, providers, "bob")).status_code == 403
    linking = await made(new_gateway, providers, link_by_email=True)
    answer = await enter(linking, providers, "bob")
    assert answer.status_code == 200
    who = await me(linking, answer.json())
    assert UUID(who["user"]["id"]) == bob
    assert who["user"]["memberships"] == {"other": "viewer"}
    assert (await enter(linking, providers, "root")).status_code == 403, "an admin of the platform"
    assert await whys(gateway) == ["taken", "taken"]


async def test_nobody_new_is_let_in_where_no_accounts_are_made(
    new_gateway: NewGateway, providers: Providers
) -> None:
    closed = await made(new_gateway, providers, create_users=False)
    assert (await enter(closed, providers, "ada")).status_code == 403
    assert await whys(closed) == ["closed"]


async def test_who_is_disabled_here_does_not_come_in_by_a_provider(
    gateway: Gateway, providers: Providers
) -> None:
    tokens = (await enter(gateway, providers, "ada")).json()
    who = (await me(gateway, tokens))["user"]["id"]
    await make_user(gateway, "chief@example.org", is_admin=True)
    async with bearer(gateway, (await try_login(gateway, "chief@example.org")).json()) as chief:
        path = f"/v1/users/{who}"
        assert (await chief.patch(path, json={"state": "disabled"})).status_code == 200
        assert (await enter(gateway, providers, "ada")).status_code == 403
        assert (await chief.patch(path, json={"state": "active"})).status_code == 200
    assert (await enter(gateway, providers, "ada")).status_code == 200


async def test_a_logout_at_the_provider_ends_the_sessions_that_came_from_it(
    gateway: Gateway, providers: Providers
) -> None:
    async with served(gateway, providers.hears_at), browser(gateway) as using:
        tokens = (await using.get(await come_back(using, providers, "ada"))).json()
        other = (await enter(gateway, providers, "ada")).json()
        left = await using.post(
            f"{GATEWAY}/v1/auth/oidc/corp/logout", json={"refresh_token": "hr_of-nobody"}
        )
        url = left.json()["logout_url"]
        assert url.startswith(providers.corp.issuer)
        page = await using.get(url)
        form = dict(_fields(page.text)) | {"logout": "yes"}
        action = page.text.partition('action="')[2].partition('"')[0]
        bye = await using.post(action, data=form)
        assert bye.headers["location"].startswith("http://console/bye")
        async with asyncio.timeout(20):
            while (await me(gateway, tokens)).get("code") != "unauthenticated":
                await asyncio.sleep(0.1)
        assert (await me(gateway, other))["user"]["email"] == "ada@example.org"
    closed = [m.data for m in await said(gateway.database) if isinstance(m.data, SessionClosed)]
    assert [str(each.session_id) for each in closed] == [tokens["session_id"]]
    assert [each.why for each in closed] == ["provider"]


def _fields(page: str) -> Iterator[tuple[str, str]]:
    for each in page.split("<input")[1:]:
        tag = each.partition(">")[0]
        if 'type="hidden"' in tag:
            name, value = (tag.partition(f'{a}="')[2].partition('"')[0] for a in ("name", "value"))
            yield name, value


async def test_a_provider_that_is_gone_is_a_503_and_leaves_nothing(
    new_gateway: NewGateway,
) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    settings = {"issuer": gone, "client_id": "hostler", "client_secret": SECRET}
    gateway = await new_gateway(public_url=GATEWAY, oidc_providers={"corp": settings})
    async with browser(gateway) as using:
        answer = await using.get(f"{GATEWAY}/v1/auth/oidc/corp/login")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "Retry-After" in answer.headers
        assert len(using.cookies) == 0
    assert await said(gateway.database) == []
