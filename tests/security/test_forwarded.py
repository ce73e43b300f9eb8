"""What proxies say, and what pretends to be one: no answer, link or mail leads elsewhere."""

from collections.abc import AsyncGenerator

import httpx
import pytest

from services.gateway.context import Gateway
from tests.security.served import Served, request, served, status
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.identity.world import ADA, CHEAP, deliver, make_user, nobody, postbox
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, CREATE, hear_catalog

EVIL = "evil.example"
TRICKS: list[dict[str, str]] = [
    {"X-Forwarded-Host": EVIL},
    {"X-Forwarded-Prefix": f"//{EVIL}"},
    {"X-Forwarded-Prefix": f"/../..//{EVIL}/"},
    {"X-Forwarded-Prefix": "/\\evil.example"},
    {"X-Forwarded-Prefix": f"https://{EVIL}"},
    {"X-Forwarded-Server": EVIL, "X-Forwarded-Port": "666"},
    {"X-Forwarded-Proto": "javascript"},
    {"X-Forwarded-Proto": f"https://{EVIL}/"},
    {"Forwarded": f'for=1.2.3.4;host="{EVIL}";proto=https'},
    {"X-Original-URL": "/v1/users", "X-Rewrite-URL": "/v1/users"},
    {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE"},
    {"Host": EVIL},
]
TRUST = [[], ["127.0.0.1"]]


async def made(new_gateway: NewGateway, proxies: list[str]) -> Gateway:
    gateway = await new_gateway(trusted_proxies=proxies, password_memory=CHEAP)
    await hear_catalog(gateway, *CATALOG)
    return gateway


def lead_nowhere(answer: httpx.Response) -> None:
    told = f"{answer.headers} {answer.text}"
    assert EVIL not in told
    assert "javascript" not in told


@pytest.mark.parametrize("proxies", TRUST, ids=["nobody_trusted", "a_trusted_proxy"])
@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: " ".join(trick.values()))
async def test_answers_lead_where_they_would_without(
    new_gateway: NewGateway, proxies: list[str], trick: dict[str, str]
) -> None:
    gateway = await made(new_gateway, proxies)
    async with client(gateway, ADMIN_KEY) as http:
        created = await http.post("/v1/vms", json=CREATE, headers=trick)
        assert created.status_code == 202, created.text
        assert created.headers["Location"] == f"/v1/operations/{created.json()['id']}"
        listed = await http.get("/v1/vms?limit=1", headers=trick)
        assert listed.status_code == 200
        for answer in (
            created,
            listed,
            await http.get("/v1", headers=trick),
            await http.get("/v1/nothing", headers=trick),
            await http.get("/v1/vms/", headers=trick),
        ):
            assert not answer.is_redirect
            lead_nowhere(answer)


@pytest.mark.parametrize("proxies", TRUST, ids=["nobody_trusted", "a_trusted_proxy"])
async def test_mails_link_to_the_public_address_whatever_host_asks_for_them(
    new_gateway: NewGateway, proxies: list[str]
) -> None:
    gateway = await made(new_gateway, proxies)
    letters = postbox(gateway).letters
    await make_user(gateway, ADA)
    for trick in TRICKS:
        async with nobody(gateway) as http:
            await http.post("/v1/auth/forgot", json={"email": ADA}, headers=trick)
    await deliver(gateway)
    assert letters
    assert EVIL not in "".join(f"{letter.subject}{letter.text}" for letter in letters)


@pytest.fixture
async def listening(gateway: Gateway) -> AsyncGenerator[Served]:
    async with served(gateway) as where:
        yield where


KEY = f"X-API-Key: {ADMIN_KEY}"
ENDS = ["\r\nSet-Cookie: a=b", "\nSet-Cookie: a=b", "\rSet-Cookie: a=b", "\x00Set-Cookie: a=b"]
ECHOED = [
    "X-Openstack-Request-Id",
    "Idempotency-Key",
    "Prefer",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Origin",
    "traceparent",
    "X-Project-Id",
    "Accept",
]


@pytest.mark.parametrize("name", ECHOED)
async def test_no_header_of_a_request_makes_one_in_the_answer(listening: Served, name: str) -> None:
    for end in ENDS:
        answer = await listening.say(request("/v1/vms?limit=1", KEY, f"{name}: x{end}"))
        assert b"set-cookie" not in answer.lower()
        assert status(answer) in {0, 200, 400, 403}, answer[:200]


@pytest.mark.parametrize(
    "target",
    [
        "/v1/vms%0d%0aSet-Cookie:%20a=b",
        "/v1/vms?marker=%0d%0aSet-Cookie:%20a=b",
        "/v1/vms?name=%0aSet-Cookie:%20a=b",
        "/v1/operations/%0d%0aSet-Cookie:%20a=b",
        "/v1/events?type=%0d%0adata:%20x",
        "//evil.example/%2e%2e",
        "/v1//vms",
        "/v1/./vms",
        "/v1/%2e%2e/metrics",
        "/v1/vms/..%2f..%2fmetrics",
        "/v1/vms\\..\\users",
        "/v1/vms;/../users",
    ],
)
async def test_no_target_makes_a_header_or_gets_around_a_prefix(
    listening: Served, target: str
) -> None:
    """A proxy that lets only /v1/vms through must not be led past by another way to write it."""
    answer = await listening.say(request(target, KEY))
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"set-cookie" not in head
    assert b"evil.example" not in head
    assert status(answer) in {0, 400, 404}, answer[:300]


async def test_a_target_with_a_host_of_its_own_leads_nowhere_else(listening: Served) -> None:
    answer = await listening.say(request("http://evil.example/v1/vms", KEY))
    assert status(answer) == 200
    assert b"evil.example" not in answer


@pytest.mark.parametrize("end", [*ENDS, "\u2028Set-Cookie: a=b", "\x85Set-Cookie: a=b"])
async def test_no_text_that_is_kept_makes_a_header_later(gateway: Gateway, end: str) -> None:
    """Whatever is taken of names and keys comes back in bodies alone."""
    async with client(gateway, ADMIN_KEY) as http:
        for body in ({**CREATE, "name": f"web{end}"}, {**CREATE, "description": f"web{end}"}):
            created = await http.post("/v1/vms", json=body)
            assert created.status_code in {202, 400}
            assert "set-cookie" not in created.headers
            if created.status_code == 202:
                shown = await http.get(f"/v1/vms/{created.json()['vm_id']}")
                assert "set-cookie" not in shown.headers
        key = await http.post("/v1/api-keys", json={"name": f"ci{end}", "role": "viewer"})
        assert key.status_code in {201, 400}
        assert "set-cookie" not in key.headers
