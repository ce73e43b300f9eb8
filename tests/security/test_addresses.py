"""Where a request comes from cannot be made up, and who may come from some places only does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.types import Scope

from chassis.testing import said
from contracts.access.events import Refused
from services.gateway.context import Gateway
from services.gateway.identity.addresses import (
    Addresses,
    AllowList,
    ForwardedHeader,
    counted_as,
    read_address,
)
from services.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.world import ADMIN_KEY

PROXY = "10.0.0.1"
INNER = "10.0.0.2"
CALLER = "203.0.113.7"
LIAR = "192.0.2.66"


def scope(peer: str | None, *headers: tuple[str, str]) -> Scope:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    client = (peer, 1234) if peer is not None else None
    return {"type": "http", "client": client, "scheme": "http", "headers": raw}


def seen(peer: str, *headers: tuple[str, str], by: ForwardedHeader = "x-forwarded-for") -> str:
    return Addresses(["10.0.0.0/8", "fd00::/8"], by).resolve(scope(peer, *headers))[0]


def test_a_caller_that_is_no_proxy_cannot_name_another_address() -> None:
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Client-IP"):
        assert seen(CALLER, (header, f"for={LIAR}"), (header, LIAR)) == CALLER


def test_what_a_trusted_proxy_adds_is_believed_and_nothing_to_its_left() -> None:
    assert seen(PROXY, ("X-Forwarded-For", CALLER)) == CALLER
    assert seen(PROXY, ("X-Forwarded-For", f"{LIAR}, {CALLER}")) == CALLER
    assert seen(PROXY, ("X-Forwarded-For", f"{LIAR}, {CALLER}, {INNER}")) == CALLER
    assert seen(PROXY, ("X-Forwarded-For", LIAR), ("X-Forwarded-For", CALLER)) == CALLER


def test_the_header_that_the_proxies_do_not_write_is_not_looked_at() -> None:
    forged = ("Forwarded", f"for={LIAR};proto=https")
    assert seen(PROXY, forged, ("X-Forwarded-For", CALLER)) == CALLER
    assert seen(PROXY, forged) == PROXY
    assert seen(PROXY, ("X-Forwarded-For", LIAR), by="forwarded") == PROXY


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (f"for={CALLER}", CALLER),
        (f"For={CALLER};by={PROXY};proto=https", CALLER),
        (f"for={LIAR}, for={CALLER}", CALLER),
        ('for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        (f'for="{LIAR}, for={LIAR}", for={CALLER}', CALLER),
        (f'for="\\", for={LIAR}", for={CALLER}', CALLER),
        ("for=unknown", PROXY),
        ("for=_hidden", PROXY),
        (f'for="{CALLER}', CALLER),
        (f"for={LIAR}, ", PROXY),
        ("", PROXY),
    ],
)
def test_forwarded_is_read_as_rfc_7239_says(text: str, address: str) -> None:
    assert seen(PROXY, ("Forwarded", text), by="forwarded") == address


@pytest.mark.parametrize(
    "hop",
    ["unknown", "", " ", "localhost", "1.2.3", "0x7f.1", "01.2.3.4", "::1%eth0", "1.2.3.4/8", "é"],
)
def test_what_is_no_address_leaves_the_proxy_that_said_it(hop: str) -> None:
    assert seen(PROXY, ("X-Forwarded-For", f"{LIAR}, {hop}")) == PROXY


def test_a_chain_without_end_is_cut() -> None:
    assert seen(PROXY, ("X-Forwarded-For", f"{LIAR}, " + ", ".join([INNER] * 5000))) == INNER


def test_ipv4_written_as_ipv6_is_ipv4() -> None:
    assert seen(f"::ffff:{PROXY}", ("X-Forwarded-For", f"::ffff:{CALLER}")) == CALLER
    assert AllowList({"demo": ["203.0.113.0/24"]}).admits("demo", None, f"::ffff:{CALLER}")
    assert AllowList({"demo": ["::ffff:203.0.113.0/120"]}).admits("demo", None, CALLER)


def test_a_peer_without_an_address_is_let_in_nowhere() -> None:
    address, _ = Addresses([], "x-forwarded-for").resolve(scope(None))
    assert address == ""
    assert not AllowList({"demo": ["0.0.0.0/0", "::/0"]}).admits("demo", None, address)


def test_only_a_trusted_proxy_says_that_https_was_used() -> None:
    addresses = Addresses(["10.0.0.0/8"], "x-forwarded-for")
    https = ("X-Forwarded-Proto", "https")
    assert addresses.resolve(scope(PROXY, https))[1] == "https"
    assert addresses.resolve(scope(CALLER, https))[1] == "http"
    assert addresses.resolve(scope(PROXY, ("X-Forwarded-Proto", "javascript")))[1] == "http"


@given(st.text(max_size=300), st.sampled_from(["x-forwarded-for", "forwarded"]))
def test_whatever_stands_in_the_header_an_address_comes_out(text: str, by: ForwardedHeader) -> None:
    raw = text.encode("utf-8", "ignore").decode("latin-1")
    assert read_address(seen(PROXY, (by, raw), by=by)) is not None


def test_both_lists_have_to_hold_an_address() -> None:
    listed = AllowList({"demo": ["203.0.113.0/24", "2001:db8::/32"], "shut": []})
    assert listed.admits("demo", None, CALLER)
    assert listed.admits("demo", ["203.0.113.7/32"], CALLER)
    assert listed.admits("demo", None, "2001:db8::9")
    assert not listed.admits("demo", ["203.0.113.8/32"], CALLER)
    assert not listed.admits("demo", None, LIAR)
    assert not listed.admits("shut", None, CALLER)
    assert listed.admits("other", None, LIAR)
    assert not listed.admits("other", [], LIAR)


@pytest.mark.parametrize("network", ["10.0.0.1/8", "everywhere", "10.0.0.0/33", "::/129", ""])
def test_settings_refuse_what_is_no_network(network: str) -> None:
    for given_ in ({"trusted_proxies": [network]}, {"allowed_addresses": {"demo": [network]}}):
        with pytest.raises(ValidationError):
            GatewaySettings.model_validate(given_)


def test_an_ipv6_site_is_counted_as_one_and_an_ipv4_address_as_itself() -> None:
    assert counted_as("2001:db8:0:1::1") == counted_as("2001:db8:0:1:2::9") == "2001:db8:0:1::/64"
    assert counted_as(CALLER) == CALLER


async def ask(gateway: Gateway, address: str, path: str = "/v1/vms") -> tuple[int, str]:
    async with client(gateway, ADMIN_KEY) as caller:
        answer = await caller.get(path, headers={"X-Forwarded-For": address})
    return answer.status_code, answer.json().get("code", "")


async def test_a_project_is_shut_to_other_places_and_each_try_is_told(
    new_gateway: NewGateway,
) -> None:
    gateway = await new_gateway(
        trusted_proxies=["127.0.0.1"], allowed_addresses={"demo": ["203.0.113.0/24"]}
    )
    assert await ask(gateway, CALLER) == (200, "")
    await said(gateway.database)
    assert await ask(gateway, LIAR) == (403, "forbidden")
    assert await ask(gateway, f"{CALLER}, {LIAR}") == (403, "forbidden")
    told = [each.data for each in await said(gateway.database)]
    assert [(each.permission, each.address) for each in told if isinstance(each, Refused)] == [
        ("address", LIAR),
        ("address", LIAR),
    ]


async def test_without_trusted_proxies_the_header_opens_nothing(new_gateway: NewGateway) -> None:
    gateway = await new_gateway(allowed_addresses={"demo": ["203.0.113.0/24"]})
    assert await ask(gateway, CALLER) == (403, "forbidden")


async def test_a_refused_address_uses_up_nothing_of_the_callers_rate(
    new_gateway: NewGateway,
) -> None:
    gateway = await new_gateway(
        trusted_proxies=["127.0.0.1"],
        allowed_addresses={"demo": ["203.0.113.0/24"]},
        rate_limits={"read": {"caller": "1/hour"}},
    )
    for _ in range(3):
        assert await ask(gateway, LIAR) == (403, "forbidden")
    assert await ask(gateway, CALLER) == (200, "")


async def test_a_key_of_one_network_is_worth_nothing_elsewhere(new_gateway: NewGateway) -> None:
    gateway = await new_gateway(trusted_proxies=["127.0.0.1"])
    wanted = {"name": "ci", "role": "viewer", "allowed_cidrs": ["203.0.113.0/24", "2001:db8::/32"]}
    async with client(gateway, ADMIN_KEY) as admin:
        made = await admin.post("/v1/api-keys", json=wanted)
    assert made.status_code == 201, made.text
    async with client(gateway, made.json()["key"]) as caller:
        for path in ("/v1/vms", "/v1/events", "/v1/me"):
            answer = await caller.get(path, headers={"X-Forwarded-For": LIAR})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
        for address in (CALLER, "2001:db8::7", f"::ffff:{CALLER}"):
            answer = await caller.get("/v1/vms", headers={"X-Forwarded-For": address})
            assert answer.status_code == 200, address
