"""No caller has a service ask an address of their choosing: there is no such field, and new ones fail here."""

import re
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import quote

import httpx
import pytest
from pydantic import SecretStr

from chassis.settings import Settings
from services.audit.settings import AuditSettings
from services.gateway.app import build
from services.gateway.context import Gateway
from services.gateway.identity.keys import FirstKeys
from services.gateway.locks import exclusively
from services.gateway.settings import GatewaySettings
from services.provisioner.settings import ProvisionerSettings
from services.sync.settings import SyncSettings
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.world import ADMIN_KEY, CREATE, Clients

LOOKS_LIKE_ONE = re.compile(r"(^|_)(ur[li]s?|href|endpoint|webhook|callback|hook|redirect\w*)($|_)")
IN_REQUESTS: set[str] = set()
"""Fields of requests that hold a URL, each with a test below of what it may not reach. There are none."""
IN_SETTINGS = {
    "audit_url",
    "database_owner_url",
    "database_url",
    "keystone_url",
    "notification_urls",
    "oidc_logged_out_url",
    "public_url",
    "redis_url",
    "smtp_url",
}
"""What operators alone write: no request reaches a setting."""
INSIDE = (
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:8004/v1/audit",
    "http://[::ffff:127.0.0.1]/",
    "http://0177.0.0.1/",
    "http://2130706433/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "//internal.example",
    "http://gateway@169.254.169.254/",
)


def fields(node: object, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every named schema within a part of the document."""
    if isinstance(node, dict):
        part = cast("dict[str, Any]", node)
        if isinstance(part.get("properties"), dict):
            yield from part["properties"].items()
        if isinstance(part.get("name"), str) and isinstance(part.get("schema"), dict):
            yield part["name"], part["schema"]
        for key, each in part.items():
            yield from fields(each, key)
    elif isinstance(node, list):
        for each in cast("list[object]", node):
            yield from fields(each, name)


def sent(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field that a request may have, of whatever depth."""
    waiting: list[object] = [
        [operation.get("requestBody", {}), operation.get("parameters", [])]
        for methods in document["paths"].values()
        for operation in methods.values()
    ]
    seen: set[str] = set()
    while waiting:
        part = waiting.pop()
        yield from fields(part)
        for name in set(re.findall(r"#/components/schemas/(\w+)", str(part))) - seen:
            seen.add(name)
            waiting.append(document["components"]["schemas"][name])


def test_no_field_of_a_request_is_a_url_but_those_that_are_tested_here(gateway: Gateway) -> None:
    found = {
        name
        for name, schema in sent(gateway.app.openapi())
        if LOOKS_LIKE_ONE.search(name.lower()) or schema.get("format") in {"uri", "url", "hostname"}
    }
    assert found == IN_REQUESTS, "give the new field a test here that it reaches nothing inside"


def test_no_setting_is_a_url_but_those_that_are_known() -> None:
    kinds = (Settings, GatewaySettings, AuditSettings, ProvisionerSettings, SyncSettings)
    found = {
        name for kind in kinds for name in kind.model_fields if LOOKS_LIKE_ONE.search(name.lower())
    }
    assert found <= IN_SETTINGS, "say here who writes it, and what it may not reach"


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whoever opens a connection is written down and refused."""
    asked: list[str] = []

    def refuse(*given: object, **_more: object) -> None:
        asked.append(str(given[1:]))
        raise OSError("nothing is to be asked here")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.create_connection", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    return asked


@pytest.mark.parametrize("url", INSIDE)
async def test_a_url_in_any_text_of_a_request_is_asked_by_nobody(
    clients: Clients, unreachable: list[str], url: str
) -> None:
    for field in ("name", "flavor", "image", "user_data", "description", "key_name"):
        answer = await clients.admin.post("/v1/vms", json={**CREATE, field: url})
        assert answer.status_code in {202, 400, 404}, answer.text
    for field in ("networks", "tags", "security_groups"):
        await clients.admin.post("/v1/vms", json={**CREATE, field: [url]})
    await clients.admin.post("/v1/vms/import", json={"server_ids": [url]})
    for name in ("Host", "X-Forwarded-Host", "Origin", "Referer", "X-Forwarded-For", "Forwarded"):
        await clients.admin.get("/v1/vms", headers={name: url})
    await clients.admin.get(f"/v1/vms?marker={quote(url, safe='')}")
    assert unreachable == []


async def test_no_query_or_path_takes_the_request_to_audit_elsewhere(
    new_gateway: NewGateway, database_url: str
) -> None:
    await new_gateway()
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, json={"items": [], "links": {}})

    settings = GatewaySettings.model_validate(
        {
            "database_url": database_url,
            "internal_secret": SecretStr("s" * 32),
            "first_api_key": SecretStr(ADMIN_KEY),
            "audit_url": "http://audit.internal:8004",
        }
    )
    gateway = build(settings, audit_transport=httpx.MockTransport(answer), show=lambda _: None)
    try:
        assert isinstance(gateway.first_keys, FirstKeys)
        await gateway.first_keys.ensure(exclusively)
        async with client(gateway, ADMIN_KEY) as http:
            for trick in (*INSIDE, "@evil.example/", "../../", "#@evil", "?x", "%0d%0aHost:evil"):
                text = quote(trick, safe="")
                await http.get(f"/v1/audit?actor={text}")
                await http.get(f"/v1/audit?marker={text}")
                await http.get(f"/v1/audit/verifications/{text}")
                await http.get(f"/v1/vms/{text}/history")
    finally:
        await gateway.database.close()
    assert asked
    assert {(each.scheme, each.host, each.port) for each in asked} == {
        ("http", "audit.internal", 8004)
    }
    assert {each.path for each in asked} == {"/v1/audit"}
