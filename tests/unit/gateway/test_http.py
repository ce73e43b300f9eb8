"""The door: whatever comes in, the answer is a problem that can be read, never a 5xx."""

import gc
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakSet

import httpx
import pytest
from pydantic import SecretStr

from services.gateway.app import build
from services.gateway.context import Gateway
from services.gateway.http import Passage
from services.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import client
from tests.unit.gateway.world import ADMIN_KEY, CREATE, Clients, create

NOT_JSON = [
    b"",
    b"{",
    b"\xff\xfe{}",
    b"[" * 100_000 + b"]" * 100_000,
    b'{"name": "\\ud800", "flavor": "m1.small", "image": "debian-12"}',
]
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One database is enough: what these tests send does not reach it."""
    return sqlite_url


async def test_a_body_that_is_no_json_object_is_a_400(clients: Clients) -> None:
    for raw in (*NOT_JSON, b"[]", b'"text"', b"null"):
        answer = await clients.operator.post("/v1/vms", content=raw, headers=JSON)
        code = "bad_request" if raw in NOT_JSON else "invalid"
        assert (answer.status_code, answer.json()["code"]) == (400, code), raw[:20]
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_key_that_comes_twice_is_a_400_that_names_it(clients: Clients) -> None:
    twice = '"name": "b"', '"metadata": {"owner": "a", "owner": "b"}'
    for member, field in zip(twice, ("body.name", "body.owner"), strict=True):
        raw = f'{{"name": "a", "flavor": "m1.small", "image": "debian-12", {member}}}'
        answer = await clients.operator.post("/v1/vms", content=raw, headers=JSON)
        assert answer.status_code == 400
        assert [each["field"] for each in answer.json()["errors"]] == [field]


WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"nmae": "x"}, "body.nmae"),
    ({"name": 7}, "body.name"),
    ({"name": "x\u0000"}, "body.name"),
    ({"name": "evil\u202ename"}, "body.name"),
    ({"name": "a\r\nX-Injected: 1"}, "body.name"),
    ({"tags": "web"}, "body.tags"),
    ({"tags": ["hostler:mine"]}, "body.tags.0"),
    ({"metadata": {"k": 1}}, "body.metadata.k"),
    ({"metadata": {"\n": "v"}}, "body.metadata"),
    ({"user_data": "A" * 65_536}, "body.user_data"),
    ({"type": "vm.delete.v1"}, "body.type"),
    ({"on_failure": "explode"}, "body.on_failure"),
]


async def test_a_wrong_field_is_a_400_that_names_it(clients: Clients) -> None:
    for fields, field in WRONG_FIELDS:
        answer = await clients.operator.post("/v1/vms", json=CREATE | fields)
        assert answer.status_code == 400, fields
        assert field in [each["field"] for each in answer.json()["errors"]]


async def test_sql_in_a_name_is_a_name(clients: Clients) -> None:
    name = "'; DROP TABLE vms; --"
    await create(clients.operator, name=name)
    found = await clients.viewer.get("/v1/vms", params={"name": name})
    assert [vm["name"] for vm in found.json()["items"]] == [name]


async def test_another_media_type_is_a_415(clients: Clients) -> None:
    for headers in ({"Content-Type": "text/plain"}, {}):
        answer = await clients.operator.post("/v1/vms", content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_a_huge_body_is_a_413_whether_it_says_its_length_or_not(clients: Clients) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 16_384

    for content in (b" " * 1_000_000, chunks()):
        answer = await clients.operator.post("/v1/vms", content=content, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert answer.headers["X-Openstack-Request-Id"].startswith("req-")


async def test_a_misspelt_parameter_is_a_400_that_names_the_known_ones(clients: Clients) -> None:
    answer = await clients.viewer.get("/v1/vms", params={"stat": "active"})
    assert answer.status_code == 400
    assert "state" in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == "query.stat"


WRONG_PARAMETERS = [
    "/v1/vms?name=%00",
    "/v1/flavors/%00",
    "/v1/vms?limit=0",
    "/v1/vms?limit=x",
    "/v1/vms?state=flying",
    "/v1/vms?changed_since=2026-01-01T00:00:00",
    "/v1/vms?changed_since=-140309124472",
    "/v1/vms?changed_since=0001-01-01T00:00:00%2B14:00",
    "/v1/vms?marker=AAAA",
    "/v1/vms?marker=%E2%82%AC",
    "/v1/vms/not-a-uuid",
    "/v1/operations?vm_id=1",
    "/v1/events?type=%27",
    "/v1/events?last_event_id=-1",
]


async def test_a_wrong_parameter_is_a_400(clients: Clients) -> None:
    for path in WRONG_PARAMETERS:
        answer = await clients.viewer.get(path)
        assert answer.status_code == 400, path
        assert answer.json()["errors"]


async def test_a_request_id_goes_in_and_out_if_it_is_one(clients: Clients) -> None:
    mine = "req-5b1f3ba4-6c63-4f23-8f83-5d5f0d1a2c3e"
    answer = await clients.viewer.get("/v1", headers={"X-Openstack-Request-Id": mine})
    assert answer.headers["X-Openstack-Request-Id"] == mine
    answer = await clients.viewer.get("/v1", headers={"X-Openstack-Request-Id": "req-1\tx"})
    assert answer.headers["X-Openstack-Request-Id"] not in {mine, "req-1\tx"}


async def test_every_path_says_which_methods_it_knows(clients: Clients) -> None:
    answer = await clients.nobody.options("/v1/vms")
    assert (answer.status_code, answer.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    answer = await clients.viewer.put("/v1/vms")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    answer = await clients.viewer.head("/v1/vms")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await clients.viewer.head("/v1/events")).status_code == 405
    assert (await clients.viewer.get("/v1/nothing")).json()["code"] == "not_found"


async def test_without_the_database_it_is_503_and_nothing_is_half_done(
    gateway: Gateway, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise ConnectionRefusedError("the database is gone")

    await create(clients.operator)
    with monkeypatch.context() as patched:
        patched.setattr(gateway.database, "session", gone)
        answer = await clients.operator.post("/v1/vms", json=CREATE)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert len((await clients.viewer.get("/v1/vms")).json()["items"]) == 1


async def test_a_refusal_is_logged_by_the_route_not_the_path(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "services.gateway.http"):
        await clients.viewer.get("/v1/vms/secret")
        await clients.viewer.get("/v1/vms")
    assert caplog.messages == ["GET /v1/vms/{vm_id} answered 400"]


async def test_a_bug_is_a_problem_with_the_request_id(
    gateway: Gateway, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(gateway.markers, "read", broken)
    answer: httpx.Response = await clients.viewer.get("/v1/vms")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["request_id"] == answer.headers["X-Openstack-Request-Id"]
    assert "secret detail" not in answer.text


async def test_a_database_that_does_not_answer_is_a_503() -> None:
    settings = GatewaySettings(
        database_url="postgresql+psycopg://hostler@127.0.0.1:1/hostler",
        internal_secret=SecretStr("s" * 32),
    )
    gateway = build(settings)
    async with client(gateway, ADMIN_KEY) as caller:
        answer = await caller.get("/v1/vms")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0


async def test_a_request_that_is_over_is_forgotten_without_a_garbage_collection(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = WeakSet[Passage]()
    end = Passage.end

    def ended(passage: Passage) -> None:
        passages.add(passage)
        end(passage)

    monkeypatch.setattr(Passage, "end", ended)
    gc.disable()
    try:
        for method, path in [("POST", "/v1/vms"), ("GET", "/v1/vms"), ("GET", "/v1/nowhere")]:
            await clients.operator.request(method, path, json=CREATE)
        assert not passages
    finally:
        gc.enable()
