"""Who asked, from where, with what: kept, hashed, sought by, and told as OCSF."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from chassis.ids import new_id
from chassis.testing import VirtualClock
from chassis.wire import Record, decode
from contracts.access.events import Flooded, KeyCreated, Overrode, Refused
from contracts.access.identity import LoginFailed, PasswordSet, SessionOpened, UserChanged
from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.message import Body, Message
from contracts.operation.events import Failed, Succeeded
from contracts.operation.states import OperationError
from contracts.topics import TOPICS
from contracts.trust.events import CommandRefused
from contracts.vm import commands
from services.audit.app import NOT_KEPT, Audit
from services.audit.outcomes import outcome_of
from services.audit.tables import LEDGER
from tests.unit.audit.world import ask, at, deliver, ledger, message, token, unguarded, verify

ACCESS = {
    "address": "192.0.2.7",
    "client": 'curl/8 "x" \\ ü',
    "credential": "key:01993b1c-58a5-7c58-8a52-0000000000c0",
    "permission": "vm.delete",
}
WHO = new_id()


def by_request(body: Body, **fields: Any) -> Message[Body]:
    return message(body).model_copy(update=ACCESS | fields)


REFUSED = Refused(
    method="DELETE", path="/v1/vms/1", permission="vm.delete", status=403, code="forbidden"
)


async def items(audit: Audit, clock: VirtualClock, **params: str) -> list[dict[str, Any]]:
    answer = await ask(audit, "/v1/audit", token(clock), params)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_access_is_part_of_the_hash_and_left_out_where_there_is_none(
    audit: Audit, clock: VirtualClock
) -> None:
    await deliver(audit, at(by_request(commands.Delete())), at(message(commands.Delete()), 1))
    told = await items(audit, clock)
    assert [each.get("access") for each in told] == [ACCESS, None]
    assert "access" not in told[1]
    for each in told:
        said = {name: value for name, value in each.items() if name not in {"id", "hash"}}
        text = json.dumps(said, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == each["hash"]
    assert (await verify(audit)).valid


@pytest.mark.parametrize("column", [*ACCESS])
async def test_whoever_changes_where_a_request_came_from_breaks_the_chain(
    audit: Audit, column: str
) -> None:
    await deliver(audit, at(by_request(commands.Delete())))
    async with unguarded(audit) as session:
        await session.execute(LEDGER.update().values({column: ""}))
    assert not (await verify(audit)).valid


async def test_the_trail_is_sought_by_each_part_of_access(
    audit: Audit, clock: VirtualClock
) -> None:
    mine = by_request(commands.Delete(), request_id="req-mine")
    await deliver(audit, at(mine), at(by_request(commands.Stop(), **dict.fromkeys(ACCESS, "x"))))
    await deliver(
        audit,
        at(by_request(REFUSED, request_id="req-2", permission="vm.x", address="y", credential="z")),
    )
    await deliver(audit, at(message(Succeeded(command="vm.stop.v1"))))
    for params in (
        {"address": "192.0.2.7"},
        {"credential": ACCESS["credential"]},
        {"permission": "vm.delete"},
        {"request_id": "req-mine"},
        {"target": mine.subject},
    ):
        assert [each["message_id"] for each in await items(audit, clock, **params)] == [
            str(mine.id)
        ], params
    assert len(await items(audit, clock, permission="vm.*")) == 2
    assert [e["type"] for e in await items(audit, clock, outcome="refused")] == [
        "access.refused.v1"
    ]
    assert len(await items(audit, clock, outcome="intended")) == 2
    assert len(await items(audit, clock, outcome="succeeded")) == 1
    assert await items(audit, clock, outcome="done") == []


async def test_a_command_that_was_not_the_gateways_is_among_what_was_refused(
    audit: Audit, clock: VirtualClock
) -> None:
    forged = CommandRefused(topic="vm.commands", partition=1, offset=2, reason="not signed")
    await deliver(audit, at(message(forged)))
    [shown] = await items(audit, clock, outcome="refused")
    assert shown["type"] == "command.refused.v1"
    assert outcome_of("vm.changed.v1") is None


BASE = {
    "activity_id": int,
    "category_uid": int,
    "class_uid": int,
    "metadata": dict,
    "severity_id": int,
    "time": int,
    "type_uid": int,
}
"""What OCSF 1.1.0 requires of every event (base_event, metadata and product)."""
OWN: dict[int, dict[str, type]] = {
    3001: {"user": dict},
    3002: {"user": dict},
    6003: {"actor": dict, "api": dict, "src_endpoint": dict},
}
CATEGORIES = {3001: 3, 3002: 3, 6003: 6}
ACTIVITIES = {
    3001: {*range(12), 99},
    3002: {*range(6), 99},
    6003: {*range(5), 99},
}
STATUSES = {0, 1, 2, 99}
SEVERITIES = {*range(7), 99}


def check_event(event: dict[str, Any]) -> None:
    """As the schema has it: required attributes, enums, constraints; written down by hand."""
    of_class = event["class_uid"]
    for name, kind in (BASE | OWN[of_class]).items():
        assert type(event[name]) is kind, name
    assert event["category_uid"] == CATEGORIES[of_class]
    assert event["activity_id"] in ACTIVITIES[of_class]
    assert event["type_uid"] == of_class * 100 + event["activity_id"]
    assert event["severity_id"] in SEVERITIES
    assert event["status_id"] in STATUSES
    assert event["metadata"]["version"] == "1.1.0"
    assert event["metadata"]["product"]["vendor_name"]
    assert set(event["src_endpoint"]) & {"ip", "svc_name"}
    assert set(event["actor"]) & {"user", "session", "invoked_by"}
    if "user" in event:
        assert set(event["user"]) & {"uid", "name"}
    if of_class == 3002:
        assert event["service"]["name"]
    if of_class == 6003:
        assert event["api"]["operation"]
    if "cloud" in event:
        assert event["cloud"]["provider"]
        assert "cloud" in event["metadata"]["profiles"]


def examples() -> list[Message[Body]]:
    """One message of every type that audit keeps, as contracts/examples has it."""
    kept = [t for t in TOPICS if "audit" in t.consumers and t not in NOT_KEPT]
    found: list[Message[Body]] = []
    for body in (body for topic in kept for body in topic.carries):
        read = json.loads(Path(f"contracts/examples/{body.wire_name()}.json").read_text())
        value = json.dumps(read["value"]).encode()
        found.append(decode(Record(read["topic"], read["key"], read["headers"], value)))
    return found


async def test_every_kind_of_entry_is_a_valid_event_of_ocsf(
    audit: Audit, clock: VirtualClock
) -> None:
    for said in examples():
        await deliver(audit, at(said.model_copy(update={"project_id": "demo", "id": new_id()})))
    events = await items(audit, clock, format="ocsf", limit="1000")
    assert len(events) == len(examples())
    for each in events:
        check_event(each)
    lines = (await ask(audit, "/v1/audit/export", token(clock), {"format": "ocsf"})).text
    *exported, trailer = [json.loads(line) for line in lines.splitlines()]
    assert {e["metadata"]["uid"] for e in exported} == {e["metadata"]["uid"] for e in events}
    assert trailer["count"] == len(events)


CASES: list[tuple[Body, int, int, int]] = [
    (REFUSED, 6003, 4, 2),
    (Overrode(method="GET", path="/v1/users", status=200), 6003, 2, 1),
    (commands.Delete(), 6003, 4, 99),
    (commands.Create(name="n", flavor="f", image="i"), 6003, 1, 99),
    (KeyCreated(name="ci", prefix="hk", role=Role.VIEWER), 6003, 1, 1),
    (Succeeded(command="vm.stop.v1"), 6003, 3, 1),
    (
        Failed(command="vm.stop.v1", error=OperationError(code=ErrorCode.QUOTA, detail="full")),
        *(6003, 3, 2),
    ),
    (UserChanged(user_id=WHO, old={"role": None}, new={"role": "admin"}), 3001, 7, 1),
    (UserChanged(user_id=WHO, old={"role": "admin"}, new={"role": None}), 3001, 8, 1),
    (UserChanged(user_id=WHO, old={"state": "active"}, new={"state": "locked"}), 3001, 9, 1),
    (PasswordSet(user_id=WHO, by="change"), 3001, 3, 1),
    (PasswordSet(user_id=WHO, by="link"), 3001, 4, 1),
    (SessionOpened(user_id=WHO, session_id=WHO), 3002, 1, 1),
    (LoginFailed(alias="ab"), 3002, 1, 2),
]


@pytest.mark.parametrize(("body", "of_class", "activity", "status"), CASES)
async def test_what_happened_is_told_in_ocsfs_own_words(  # noqa: PLR0917
    audit: Audit, clock: VirtualClock, body: Body, of_class: int, activity: int, status: int
) -> None:
    await deliver(audit, at(by_request(body)))
    (event,) = await items(audit, clock, format="ocsf")
    check_event(event)
    said = (event["class_uid"], event["activity_id"], event["status_id"])
    assert said == (of_class, activity, status)
    assert event["src_endpoint"] == {"ip": "192.0.2.7"}
    assert event["actor"]["user"]["credential_uid"] == ACCESS["credential"]


async def test_a_flood_stands_out_in_ocsf(audit: Audit, clock: VirtualClock) -> None:
    now = clock()
    flood = Flooded(count=9, codes={"unauthenticated": 9}, since=now, until=now)
    await deliver(audit, at(by_request(flood)))
    (event,) = await items(audit, clock, format="ocsf")
    assert (event["severity_id"], event["unmapped"]["hostler"]["data"]["count"]) == (3, 9)
    assert len(await ledger(audit)) == 1
