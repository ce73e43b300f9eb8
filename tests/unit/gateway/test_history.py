"""What a VM was is asked of audit, for those alone who may know of the VM."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from chassis.ids import new_id
from chassis.migrations import migrate
from chassis.testing import VirtualClock
from contracts.vm.states import VmState
from services.audit.app import Audit
from services.gateway.context import Gateway
from tests.unit.audit.world import at, deliver, made
from tests.unit.gateway.world import Clients, changed, make_active

SECRET = "s" * 32
STATES = [VmState.ACTIVE, VmState.STOPPED, VmState.ACTIVE, VmState.DELETED]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
async def audit(gateway: Gateway, tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Audit]:
    """An audit in the gateway's reach."""
    url = f"sqlite+aiosqlite:///{tmp_path}/audit.db"
    built = made(url, clock, internal_secret=SECRET)
    await migrate(built.service.database)
    gateway.audit.transport = httpx.ASGITransport(built.app)
    yield built
    await built.service.database.close()


async def live(audit: Audit, vm_id: str, clock: VirtualClock) -> None:
    """Let a VM go through STATES, one a minute, and audit hear of it."""
    for version, state in enumerate(STATES, 1):
        told = changed(vm_id, version, state, name=f"web-{version}")
        await deliver(audit, at(told.model_copy(update={"time": clock()})))
        clock.advance(minutes=1)


async def test_a_vm_is_shown_as_it_was_at_any_time(
    gateway: Gateway, clients: Clients, audit: Audit, clock: VirtualClock
) -> None:
    begin = clock()
    vm_id = str(new_id())
    await live(audit, vm_id, clock)
    for version, state in enumerate(STATES, 1):
        for minute in (version - 1, version - 0.01):
            when = (begin + timedelta(minutes=minute)).isoformat()
            answer = await clients.viewer.get(f"/v1/vms/{vm_id}", params={"at": when})
            shown = answer.json()
            assert (shown["state"], shown["version"], shown["name"]) == (
                state,
                version,
                f"web-{version}",
            )


async def test_before_it_was_seen_there_is_none_and_the_time_to_come_is_no_answer(
    clients: Clients, audit: Audit, clock: VirtualClock
) -> None:
    vm_id = str(new_id())
    await live(audit, vm_id, clock)
    for when, status in (("2025-12-31T00:00:00Z", 404), ("2027-01-01T00:00:00Z", 400)):
        answer = await clients.viewer.get(f"/v1/vms/{vm_id}", params={"at": when})
        assert answer.status_code == status, answer.text


async def test_every_change_is_told_the_oldest_first_in_pages(
    clients: Clients, audit: Audit, clock: VirtualClock
) -> None:
    vm_id = str(new_id())
    await live(audit, vm_id, clock)
    path, versions = f"/v1/vms/{vm_id}/history?limit=3", list[int]()
    while path:
        page = (await clients.viewer.get(path)).json()
        versions += [change["version"] for change in page["items"]]
        path = page["links"]["next"]
        assert path is None or path.startswith(f"/v1/vms/{vm_id}/history?")
    assert versions == [1, 2, 3, 4]


async def test_what_is_another_projects_is_not_there(
    gateway: Gateway, clients: Clients, audit: Audit, clock: VirtualClock
) -> None:
    kept_here = (await make_active(gateway, clients.operator))["id"]
    await live(audit, kept_here, clock)
    gone_from_here = str(new_id())
    await live(audit, gone_from_here, clock)
    for vm_id in (kept_here, gone_from_here, str(new_id())):
        for path in (f"/v1/vms/{vm_id}/history", f"/v1/vms/{vm_id}?at=2026-01-01T12:01:00Z"):
            answer = await clients.stranger.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_vm_that_audit_has_not_heard_of_yet_has_no_history_yet(
    gateway: Gateway, clients: Clients, audit: Audit
) -> None:
    vm = await make_active(gateway, clients.operator)
    answer = await clients.viewer.get(f"/v1/vms/{vm['id']}/history")
    assert (answer.status_code, answer.json()["items"]) == (200, [])


async def test_without_audit_history_is_a_503(gateway: Gateway, clients: Clients) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    gateway.audit.transport = httpx.MockTransport(refuse)
    vm = await make_active(gateway, clients.operator)
    answer = await clients.viewer.get(f"/v1/vms/{vm['id']}/history")
    assert answer.status_code == 503


@pytest.mark.parametrize(
    "body", [b'{"items":[]}', b'{"items":[],"links":{}}', b'{"links":{"next":null}}', b"[]", b"<p>"]
)
async def test_an_answer_of_audit_that_cannot_be_read_is_a_503_and_not_taken_for_the_last_page(
    gateway: Gateway, clients: Clients, body: bytes
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body)

    gateway.audit.transport = httpx.MockTransport(answer)
    vm = await make_active(gateway, clients.operator)
    for path in ("history", "?at=2026-01-01T12:00:00Z"):
        got = await clients.viewer.get(f"/v1/vms/{vm['id']}/{path}".replace("/?", "?"))
        assert (got.status_code, got.json()["code"]) == (503, "unavailable"), path
        assert "Retry-After" in got.headers


async def test_the_export_comes_through_whole(
    clients: Clients, audit: Audit, clock: VirtualClock
) -> None:
    await live(audit, str(new_id()), clock)
    answer = await clients.viewer.get("/v1/audit/export?type=vm.*")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert len(answer.text.splitlines()) == len(STATES) + 1
    assert (await clients.stranger.get("/v1/audit/export")).text.count("\n") == 1


async def test_a_verification_can_be_asked_for_and_looked_at(
    clients: Clients, audit: Audit, clock: VirtualClock
) -> None:
    await live(audit, str(new_id()), clock)
    begun = await clients.admin.post("/v1/audit/verifications?full=true")
    assert (begun.status_code, begun.json()["state"]) == (202, "queued")
    assert await audit.runs.work_once()
    shown = (await clients.admin.get(begun.headers["Location"])).json()
    assert (shown["state"], shown["verdict"]["valid"], shown["rows"]) == ("ended", True, 4)
    unknown = await clients.admin.get(f"/v1/audit/verifications/{new_id()}")
    assert unknown.status_code == 404
    assert (await clients.viewer.get("/v1/audit/keys")).json()["keys"][0]["crv"] == "Ed25519"
