"""Every write and every refusal, over every route that there is, has its row in the ledger."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import RowMapping

from chassis.database import Database
from chassis.migrations import migrate
from chassis.testing import VirtualClock, hear, unsaid
from chassis.wire import Record
from contracts.identity import Role
from services.audit.app import Audit
from services.audit.outcomes import Outcome, outcome_of
from services.gateway.context import Gateway
from services.gateway.floods import ALL, EACH, ORIGINS, Whom
from services.gateway.witness import Witness
from tests.authz.test_isolation import ROUTES
from tests.unit.audit.world import deliver, ledger, made, verify
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.identity.world import ADA, bearer, log_in, make_user, nobody, postbox
from tests.unit.gateway.test_dead_letters import letter
from tests.unit.gateway.world import CREATE, Clients, create, make_active

SAFE = {"get", "head", "options"}
AGENT = "walker/1.0"
OPEN = {route.path for route in ROUTES if route.is_open}
BODIES = {route.name: route.body for route in ROUTES}


@pytest.fixture
async def audit(tmp_path: Path, clock: VirtualClock) -> AsyncGenerator[Audit]:
    url = f"sqlite+aiosqlite:///{tmp_path}/audit.db"
    database = Database(url, "audit")
    await migrate(database)
    await database.close()
    built = made(url, clock)
    yield built
    await built.service.database.close()


async def kept(gateway: Gateway, audit: Audit) -> Sequence[RowMapping]:
    """All that was said, in the ledger."""
    for record in await unsaid(gateway.database):
        if any(c.topic.name == record.topic for c in audit.service.consumers):
            await deliver(audit, Record(record.topic, record.key, record.headers, record.value))
    return await ledger(audit)


class Walk:
    """Asks, each time by a request id of its own and in a minute of its own."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.answers: dict[str, httpx.Response] = {}

    async def ask(
        self, who: httpx.AsyncClient, method: str, path: str, body: object = None, **headers: str
    ) -> str:
        self.clock.advance(seconds=61)
        request_id = f"req-{uuid4()}"
        given = {"X-Openstack-Request-Id": request_id, "User-Agent": AGENT, **headers}
        answer = await who.request(method, path, json=body, headers=given)
        self.answers[request_id] = answer
        return request_id


def writes(gateway: Gateway) -> list[tuple[str, str]]:
    """Every write of the OpenAPI document."""
    paths: dict[str, dict[str, Any]] = gateway.app.openapi()["paths"]
    found = [(m.upper(), path) for path, each in paths.items() for m in each if m not in SAFE]
    assert len(found) > 30
    return found


@pytest.fixture
async def ids(gateway: Gateway, clients: Clients) -> dict[str, str]:
    """Things of the project `demo`; what no test makes is an id of nothing."""
    vm = await make_active(gateway, clients.operator)
    operations = (await clients.operator.get("/v1/operations")).json()["items"]
    keys = (await clients.admin.get("/v1/api-keys")).json()["items"]
    buried = letter()
    await hear(gateway.service, buried)
    member = await make_user(gateway, "member@example.org", {"demo": Role.VIEWER})
    return {
        "user_id": str(member),
        "letter_id": str(buried.id),
        "vm_id": vm["id"],
        "operation_id": operations[0]["id"],
        "key_id": keys[-1]["id"],
        "field": "name",
    }


class _Any(dict[str, str]):
    def __missing__(self, _key: str) -> str:
        return "01993b1c-58a5-7c58-8a52-00000000dead"


async def test_every_write_of_every_route_has_its_row_whoever_asks_and_whatever_comes_of_it(
    gateway: Gateway, clients: Clients, audit: Audit, ids: dict[str, str], clock: VirtualClock
) -> None:
    await unsaid(gateway.database)
    walk = Walk(clock)
    callers = (clients.nobody, clients.viewer, clients.stranger, clients.admin)
    for method, template in writes(gateway):
        path, body = template.format_map(_Any(ids)), BODIES.get(f"{method} {template}", {})
        for who in callers:
            await walk.ask(who, method, path, body)
    rows = by_request(await kept(gateway, audit))
    for request_id, answer in walk.answers.items():
        check(answer, rows.get(request_id, []))
    assert (await verify(audit)).valid


def by_request(rows: Sequence[RowMapping]) -> dict[str, list[RowMapping]]:
    found: dict[str, list[RowMapping]] = {}
    for row in rows:
        found.setdefault(row["request_id"], []).append(row)
    return found


def _is_open(path: str) -> bool:
    """Whether nobody looks at the credential there."""
    return path in OPEN or path.startswith("/v1/auth/oidc")


def check(answer: httpx.Response, rows: Sequence[RowMapping]) -> None:
    """The rows of one request tell who, from where, with what, and what became of it."""
    asked = f"{answer.request.method} {answer.request.url.path} {answer.status_code}"
    assert rows, f"nothing is told of {asked}"
    key = answer.request.headers.get("X-API-Key")
    for row in rows:
        assert (row["address"], row["client"]) == ("127.0.0.1", AGENT), asked
        if key and answer.status_code != 401 and not _is_open(answer.request.url.path):
            assert row["credential"].startswith("key:"), (asked, row["credential"])
            UUID(row["credential"].removeprefix("key:"))
    outcomes = {outcome_of(row["type"]) for row in rows}
    if answer.status_code < 400:
        assert outcomes & {Outcome.INTENDED, Outcome.DONE}, asked
        return
    assert Outcome.REFUSED in outcomes, asked
    told = [json.loads(row["data"]) for row in rows if row["type"] == "access.refused.v1"]
    for data in told:
        assert (data["status"], data["code"]) == (answer.status_code, answer.json()["code"]), asked
    if answer.status_code == 403 and key and "/auth/" not in asked and "/me" not in asked:
        assert all(row["permission"] for row in rows), asked


def witness_of(gateway: Gateway) -> Witness:
    """The one at the gateway's door."""
    given = [each.kwargs["witness"] for each in gateway.app.user_middleware if each.kwargs]
    return cast("Witness", given[0])


async def test_each_class_of_refusal_is_told_with_its_code_and_what_it_was_about(
    gateway: Gateway, clients: Clients, audit: Audit, ids: dict[str, str], clock: VirtualClock
) -> None:
    await unsaid(gateway.database)
    walk, vm = Walk(clock), f"/v1/vms/{ids['vm_id']}"
    strange = {"X-API-Key": "hk_0123abcd_" + "x" * 43}
    once = {"Idempotency-Key": "one"}
    await walk.ask(clients.admin, "POST", "/v1/vms", CREATE, **once)
    cases: list[tuple[httpx.AsyncClient, str, str, object, Mapping[str, str], int, str]] = [
        (clients.nobody, "GET", vm, None, {}, 401, "unauthenticated"),
        (clients.nobody, "GET", vm, None, strange, 401, "unauthenticated"),
        (
            clients.nobody,
            "GET",
            vm,
            None,
            {"Authorization": "Bearer x.y.z"},
            401,
            "unauthenticated",
        ),
        (clients.viewer, "DELETE", vm, None, {}, 403, "forbidden"),
        (clients.viewer, "GET", "/v1/api-keys", None, {}, 403, "forbidden"),
        (clients.stranger, "GET", vm, None, {}, 404, "not_found"),
        (clients.stranger, "DELETE", vm, None, {}, 404, "not_found"),
        (clients.admin, "POST", f"{vm}/start", {}, {}, 409, "state_conflict"),
        (clients.admin, "DELETE", vm, None, {"If-Match": '"999"'}, 412, "precondition_failed"),
        (clients.admin, "POST", "/v1/vms", CREATE | {"name": "b"}, once, 422, "key_reused"),
        (clients.admin, "POST", "/v1/vms", {"name": "b"}, {}, 400, "invalid"),
        (clients.admin, "PUT", "/v1/vms", {}, {}, 405, "method_not_allowed"),
    ]
    asked = [await walk.ask(w, m, p, b, **h) for w, m, p, b, h, *_ in cases]
    rows = by_request(await kept(gateway, audit))
    for request_id, (_, method, path, _, _, status, code) in zip(asked, cases, strict=True):
        assert walk.answers[request_id].status_code == status, (method, path)
        (row,) = rows[request_id]
        data = json.loads(row["data"])
        assert (row["type"], data["status"], data["code"]) == ("access.refused.v1", status, code)
        assert (data["method"], data["path"]) == (method, path)
        if path.startswith(vm):
            assert (row["subject"], data["target"]) == (ids["vm_id"], {"vm_id": ids["vm_id"]})
    credentials = [rows[each][0]["credential"] for each in asked[:3]]
    assert credentials == ["", "unverified:key:hk_0123abcd", "unverified:token"]
    assert [rows[each][0]["actor"] for each in asked[2:4]] == ["anonymous", "key:viewer"]
    assert [rows[each][0]["project_id"] for each in asked[4:6]] == ["demo", "other"]
    assert "x" * 43 not in str([dict(row) for found in rows.values() for row in found])


async def test_a_rate_that_is_used_up_is_told_of_whom_it_is(
    new_gateway: NewGateway, audit: Audit
) -> None:
    rates = {"read": {"caller": "", "address": "2/minute"}}
    gateway = await new_gateway(rate_limits=rates)
    async with client(gateway, "") as anybody:
        statuses = [(await anybody.get("/v1")).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    last = (await kept(gateway, audit))[-1]
    assert (json.loads(last["data"])["code"], last["address"]) == ("rate_limited", "127.0.0.1")


async def test_a_flood_of_refusals_is_counted_and_told_as_one(
    gateway: Gateway, clients: Clients, audit: Audit, clock: VirtualClock
) -> None:
    await unsaid(gateway.database)
    for _ in range(EACH + 30):
        assert (await clients.nobody.get("/v1/vms")).status_code == 401
    assert (await clients.viewer.get("/v1/api-keys")).status_code == 403
    witness = witness_of(gateway)
    await witness.flush()
    rows = await kept(gateway, audit)
    assert len(rows) == EACH + 1, "another origin is not lost in it"
    clock.advance(seconds=61)
    await witness.flush()
    await witness.flush()
    *_, last = await kept(gateway, audit)
    data = json.loads(last["data"])
    assert (last["type"], last["address"]) == ("access.flooded.v1", "127.0.0.1")
    assert (data["count"], data["codes"]) == (30, {"unauthenticated": 30})
    assert (await clients.nobody.get("/v1/vms")).status_code == 401
    assert (await kept(gateway, audit))[-1]["type"] == "access.refused.v1"


async def test_many_origins_together_fill_neither_the_ledger_nor_the_memory(
    gateway: Gateway, clock: VirtualClock
) -> None:
    witness = witness_of(gateway)
    admitted = 0
    for n in range(ORIGINS * 2):
        whom = Whom("", "anonymous", "", f"10.0.{n // 256}.{n % 256}")
        admitted += witness.floods.admits(whom, "unauthenticated", clock())
    assert admitted == ALL
    over = witness.floods.over(clock(), all_of_them=True)
    assert len(over) <= ORIGINS + 1
    assert sum(each.codes.total() for _, each in over) == ORIGINS * 2 - ALL


async def test_what_could_not_be_told_while_the_database_was_gone_is_counted_and_told_later(
    gateway: Gateway, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    await unsaid(gateway.database)
    witness = witness_of(gateway)

    async def out(*_: object) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as patched:
        patched.setattr(witness, "_say", out)
        assert (await clients.viewer.get("/v1/api-keys")).status_code == 403
        with pytest.raises(ConnectionRefusedError):
            await witness.flush(all_of_them=True)
    await witness.flush(all_of_them=True)
    (record,) = await unsaid(gateway.database)
    assert record.headers["ce_type"] == "access.flooded.v1"
    assert json.loads(record.value)["codes"] == {"forbidden": 1}


async def test_hostile_paths_and_agents_are_kept_printable_and_short(
    gateway: Gateway, clients: Clients, audit: Audit
) -> None:
    await unsaid(gateway.database)
    agent = "a\x7f\u00a0\u202e".encode().decode("latin-1") + "b" * 999
    await clients.admin.post(
        "/v1/vms/%0d%0a" + "z" * 999, headers=[(b"User-Agent", agent.encode())]
    )
    (row,) = await kept(gateway, audit)
    path: str = json.loads(row["data"])["path"]
    assert (len(row["client"]), len(path)) == (200, 200)
    assert row["client"].isprintable()
    assert path.isprintable()


async def test_changes_tell_what_was_before_and_what_is_now_and_no_secret(
    gateway: Gateway, clients: Clients, audit: Audit, ids: dict[str, str], clock: VirtualClock
) -> None:
    root = "root@example.org"
    await make_user(gateway, root, is_admin=True)
    walk, vm = Walk(clock), f"/v1/vms/{ids['vm_id']}/drift"
    async with bearer(gateway, await log_in(gateway, root)) as admin:
        user = f"/v1/users/{ids['user_id']}"
        change = await walk.ask(admin, "PATCH", user, {"memberships": {"demo": "admin"}})
    first = await walk.ask(clients.admin, "PUT", vm, {"choices": {"*": "ignore"}})
    second = await walk.ask(clients.admin, "PUT", vm, {"choices": {"*": "report"}})
    rotated = await walk.ask(clients.admin, "POST", f"/v1/api-keys/{ids['key_id']}/rotate", {})
    assert all(each.status_code < 300 for each in walk.answers.values()), walk.answers
    rows = {
        key: json.loads(found[0]["data"])
        for key, found in by_request(await kept(gateway, audit)).items()
    }
    assert (rows[change]["old"], rows[change]["new"]) == ({"role": "viewer"}, {"role": "admin"})
    assert (rows[first]["former"], rows[first]["choices"]) == ({}, {"*": "ignore"})
    assert (rows[second]["former"], rows[second]["choices"]) == ({"*": "ignore"}, {"*": "report"})
    secret = walk.answers[rotated].json()["key"]
    assert rows[rotated]["former_prefix"] != rows[rotated]["prefix"] == secret[:11]
    assert secret[12:] not in json.dumps(rows)


async def test_a_command_tells_the_credential_that_gave_it_also_where_many_share_a_transaction(
    gateway: Gateway, clients: Clients, audit: Audit
) -> None:
    await unsaid(gateway.database)
    keys = (await clients.admin.get("/v1/api-keys")).json()["items"]
    ids = {f"key:{each['name']}": f"key:{each['id']}" for each in keys}
    await asyncio.gather(*[create(each) for each in (clients.admin, clients.operator) * 3])
    rows = await kept(gateway, audit)
    assert [row["credential"] for row in rows] == [ids[row["actor"]] for row in rows]
    assert {row["permission"] for row in rows} == {"vm.create"}


async def test_an_admin_of_the_platform_who_looks_at_other_peoples_things_is_told(
    gateway: Gateway, audit: Audit
) -> None:
    await make_user(gateway, ADA, is_admin=True)
    other = await make_user(gateway, "bob@example.org", {"demo": Role.VIEWER})
    async with bearer(gateway, await log_in(gateway)) as admin:
        await unsaid(gateway.database)
        assert (await admin.get(f"/v1/users/{other}")).status_code == 200
        assert (await admin.get("/v1/me")).status_code == 200
    (row,) = await kept(gateway, audit)
    assert (row["type"], row["subject"]) == ("access.overrode.v1", str(other))
    assert row["credential"].startswith("session:")


async def test_a_failed_login_is_told_once_with_where_it_came_from(
    gateway: Gateway, audit: Audit
) -> None:
    postbox(gateway)
    await make_user(gateway, ADA)
    async with nobody(gateway) as anybody:
        body = {"email": ADA, "password": "not-the-password"}
        assert (await anybody.post("/v1/auth/login", json=body)).status_code == 401
    (row,) = await kept(gateway, audit)
    assert (row["type"], row["address"]) == ("login.failed.v1", "127.0.0.1")
