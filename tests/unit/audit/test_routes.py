import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import delete

from chassis.database import Database
from chassis.identity import Caller, Vouching
from chassis.ids import new_id
from chassis.testing import VirtualClock
from contracts.identity import Role
from contracts.operation.events import Succeeded
from contracts.vm import commands
from contracts.vm.events import Stopped
from services.audit.app import Audit
from services.audit.tables import LEDGER
from tests.unit.audit.world import ask, at, deliver, message, token, unguarded


async def listed(audit: Audit, clock: VirtualClock, params: Any = None) -> list[dict[str, Any]]:
    answer = await ask(audit, "/v1/audit", token(clock), params)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def types(audit: Audit, clock: VirtualClock, params: Any = None) -> list[str]:
    return [item["type"] for item in await listed(audit, clock, params)]


@pytest.fixture
async def story(audit: Audit, clock: VirtualClock) -> Audit:
    """Stop a VM, seen out of order: the events are recorded before the command."""
    begin, vm, operation = clock(), new_id(), new_id()

    def told(body: Any, second: int, actor: str = "hostler/provisioner") -> Any:
        when = begin + timedelta(seconds=second)
        return at(message(body, vm=vm, operation=operation, time=when, actor=actor))

    await deliver(audit, told(None, 1), told(Succeeded(command="vm.stop.v1"), 2))
    await deliver(audit, told(Stopped(server_id="s"), 3))
    await deliver(audit, told(commands.Stop(), 0, "key:ops"))
    await deliver(audit, at(message(project="another", vm=vm, operation=operation)))
    return audit


STORY = ["vm.stop.v1", "operation.started.v1", "operation.succeeded.v1", "vm.stopped.v1"]


async def test_a_trail_is_told_in_the_order_in_which_it_was_said_the_newest_last(
    story: Audit, clock: VirtualClock
) -> None:
    assert await types(story, clock) == STORY
    assert await types(story, clock, {"order": "desc"}) == STORY[::-1]


async def test_a_caller_sees_the_own_project_only(story: Audit, clock: VirtualClock) -> None:
    mine = await listed(story, clock)
    assert {item["project_id"] for item in mine} == {"demo"}
    vm = mine[0]["vm_id"]
    other = token(clock, Caller("key:x", "another", Role.ADMIN))
    answer = await ask(story, "/v1/audit", other, {"vm_id": vm})
    assert [item["project_id"] for item in answer.json()["items"]] == ["another"]
    nobody = token(clock, Caller("key:x", "nobody", Role.ADMIN))
    assert (await ask(story, "/v1/audit", nobody)).json()["items"] == []


async def test_filters_narrow_the_trail(story: Audit, clock: VirtualClock) -> None:
    first = (await listed(story, clock))[0]
    vm, operation, second = first["vm_id"], first["operation_id"], "2026-01-01T12:00:01Z"
    cases: list[tuple[Any, list[str]]] = [
        ({"vm_id": vm}, STORY),
        ({"vm_id": str(new_id())}, []),
        ({"operation_id": operation}, STORY),
        ({"operation_id": str(new_id())}, []),
        ({"actor": "key:ops"}, STORY[:1]),
        ({"type": "vm.stop.v1"}, STORY[:1]),
        ({"type": "operation.*"}, STORY[1:3]),
        ([("type", "operation.*"), ("type", "vm.stopped.v1")], STORY[1:]),
        ({"type": "vm.*", "actor": "key:ops"}, STORY[:1]),
        ({"type": "oper.*"}, []),
        ({"since": second}, STORY[1:]),
        ({"until": second}, STORY[:1]),
        ({"since": "2026-01-01T13:00:01+01:00", "until": "2026-01-01T12:00:03Z"}, STORY[1:3]),
        ({"since": second, "until": second}, []),
    ]
    for params, expected in cases:
        assert await types(story, clock, params) == expected, params


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_following_next_tells_every_entry_once_also_where_times_are_equal(
    audit: Audit, clock: VirtualClock, order: str
) -> None:
    told = [message(time=clock() + timedelta(microseconds=n // 3)) for n in range(10)]
    await deliver(audit, *[at(m, n % 2) for n, m in enumerate(told)])
    expected = [str(m.id) for m in told]
    for limit in (1, 2, 3, 5, 10, 100):
        found = await followed(audit, clock, f"order={order}&limit={limit}&actor=key%3Atest")
        assert found == (expected if order == "asc" else expected[::-1])


async def followed(audit: Audit, clock: VirtualClock, query: str) -> list[str]:
    path: str | None = f"/v1/audit?{query}"
    found: list[str] = []
    while path is not None:
        answer = (await ask(audit, path, token(clock))).json()
        assert answer["links"]["self"] == path
        assert answer["items"]
        found += [item["message_id"] for item in answer["items"]]
        path = answer["links"]["next"]
    return found


async def test_an_auditor_can_compute_every_hash_again_from_what_the_api_says(
    story: Audit, clock: VirtualClock
) -> None:
    entries = await listed(story, clock)
    for entry in entries:
        said = {name: value for name, value in entry.items() if name not in {"id", "hash"}}
        text = json.dumps(said, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == entry["hash"]
    started = next(entry for entry in entries if entry["type"] == "operation.started.v1")
    succeeded = next(entry for entry in entries if entry["type"] == "operation.succeeded.v1")
    assert succeeded["previous_hash"] == started["hash"]
    assert started["time"] == "2026-01-01T12:00:01.000000Z"


async def test_verify_answers_whether_the_ledger_holds(story: Audit, clock: VirtualClock) -> None:
    answer = await ask(story, "/v1/audit/verify", token(clock))
    assert answer.json() == {"valid": True, "chains": 2, "rows": 5, "first_broken": None}
    async with unguarded(story) as session:
        await session.execute(delete(LEDGER).where(LEDGER.c.type == "operation.succeeded.v1"))
    found = (await ask(story, "/v1/audit/verify", token(clock))).json()
    assert found["valid"] is False
    assert set(found["first_broken"]) == {"chain", "position", "id", "reason"}
    assert (found["first_broken"]["chain"], found["first_broken"]["position"]) == ("vm.events/0", 2)


HOSTILE = [
    "vm_id=1",
    "vm_id=' OR 1=1 --",
    "vm_id=",
    "operation_id=%00",
    "type=",
    "type=*",
    "type=vm*",
    "type=vm.%",
    "type=VM.STOP.V1",
    "type=vm.*.v1",
    "type=vm.stop.v1%0A",
    "type=" + "a" * 101,
    "&".join(["type=vm.stop.v1"] * 33),
    "actor=%00",
    "actor=a%0D%0AX: y",
    "actor=" + "a" * 256,
    "actor=%E2%80%AEabc",
    "since=yesterday",
    "since=2026-01-01T00:00:00",
    "since=9999-12-31T23:59:59-23:00",
    "until=0001-01-01T00:00:00%2B23:00",
    "until=NaN",
    "since=1e400",
    "order=up",
    "order=desc;DROP TABLE ledger",
    "limit=0",
    "limit=-1",
    "limit=1001",
    "limit=ten",
    "limit=99999999999999999999",
    "marker=",
    "marker=x",
    "marker=1-x",
    "marker=999999999999999999-1",
    "marker=-999999999999999999-1",
    "marker=٣-٣",
    "marker=1-9999999999999999999",
    "project_id=another",
    "unknown=1",
]


async def test_a_hostile_filter_is_refused_with_a_problem_that_names_the_field(
    story: Audit, clock: VirtualClock
) -> None:
    request_id = {"X-Openstack-Request-Id": "req-0f7c"}
    for query in HOSTILE:
        answer = await ask(story, f"/v1/audit?{query}", token(clock), **request_id)
        assert answer.status_code == 400, (query, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert (told["code"], told["request_id"]) == ("invalid", "req-0f7c")
        assert told["errors"][0]["field"].startswith("query." + query.split("=")[0])


async def test_verify_takes_no_parameters(story: Audit, clock: VirtualClock) -> None:
    answer = await ask(story, "/v1/audit/verify?project_id=another", token(clock))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "query.project_id"


async def test_without_a_token_that_holds_nothing_is_told(
    story: Audit, clock: VirtualClock
) -> None:
    early = token(clock)
    stranger = Vouching(SecretStr("another secret of thirty-two characters"))
    forged = stranger.sign(Caller("key:x", "demo", Role.ADMIN), "audit", clock())
    head, body, seal = early.split(".")
    hostile = [
        "",
        "x",
        "a.b.c",
        "é.é.é",
        token(clock, audience="provisioner"),
        forged,
        f"{head}.{body}.",
        f"{head}.{body[:-2]}.{seal}",
        "eyJhbGciOiJub25lIn0." + body + ".",
    ]
    for path in ("/v1/audit", "/v1/audit/verify", "/v1/audit?limit=x"):
        for bearer in hostile:
            answer = await ask(story, path, bearer)
            assert answer.status_code == 401, (path, bearer, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "unauthenticated"
    clock.advance(seconds=70)
    assert (await ask(story, "/v1/audit", early)).status_code == 401


async def test_another_scheme_than_bearer_is_refused(story: Audit, clock: VirtualClock) -> None:
    answer = await ask(story, "/v1/audit", "", Authorization=f"Basic {token(clock)}")
    assert answer.status_code == 401


async def test_paths_and_methods_that_do_not_exist_are_problems(
    story: Audit, clock: VirtualClock
) -> None:
    answer = await ask(story, "/v1/audit/1", token(clock))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_health_and_metrics_answer_without_a_token(story: Audit) -> None:
    assert (await ask(story, "/healthz", "")).json()["service"] == "audit"
    metrics = (await ask(story, "/metrics", "")).text
    assert 'hostler_messages_consumed_total{service="audit",topic="vm.events"' in metrics
    ready = await ask(story, "/readyz", "")
    assert ready.status_code == 503
    assert ready.json()["checks"]["database"]["ok"] is True


async def test_without_its_database_audit_answers_503_and_when_to_ask_again(
    story: Audit, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out(_self: Database) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(Database, "reading", out)
    answer = await ask(story, "/v1/audit", token(clock))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "Retry-After" in answer.headers
