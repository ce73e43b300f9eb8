"""An admin of the platform acts in others' projects for a reason that is told, or not at all."""

from collections.abc import AsyncIterator

import httpx
import pytest

from chassis.testing import said
from contracts.access.permission import Overridden
from contracts.identity import Role
from contracts.vm.commands import Stop
from services.gateway.context import Gateway
from tests.unit.gateway.identity.world import ADA, BOB, bearer, log_in, make_user
from tests.unit.gateway.world import Clients, make_active

WHY = {"X-Override-Reason": "incident 4711"}


@pytest.fixture
async def admin(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """An admin of the platform who is in `other` alone, and acts in `demo`."""
    await make_user(gateway, ADA, {"other": Role.VIEWER}, is_admin=True)
    async with bearer(gateway, await log_in(gateway), "demo") as made:
        yield made


async def overrides(gateway: Gateway) -> list[Overridden]:
    return [m.data for m in await said(gateway.database) if isinstance(m.data, Overridden)]


async def test_without_a_reason_it_is_a_403_that_names_the_header(
    gateway: Gateway, clients: Clients, admin: httpx.AsyncClient
) -> None:
    vm = await make_active(gateway, clients.operator)
    for method, path in (("GET", f"/v1/vms/{vm['id']}"), ("POST", f"/v1/vms/{vm['id']}/stop")):
        answer = await admin.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "X-Override-Reason" in answer.json()["detail"]
    assert await overrides(gateway) == []


async def test_with_a_reason_reads_and_commands_are_allowed_and_each_is_told_first(
    gateway: Gateway, clients: Clients, admin: httpx.AsyncClient
) -> None:
    vm = await make_active(gateway, clients.operator)
    assert (await admin.get(f"/v1/vms/{vm['id']}", headers=WHY)).status_code == 200
    stopped = await admin.post(f"/v1/vms/{vm['id']}/stop", headers=WHY)
    assert stopped.status_code == 202
    messages = list(await said(gateway.database))
    read, commanded = [m.data for m in messages if isinstance(m.data, Overridden)]
    assert (read.method, read.path, read.reason) == ("GET", f"/v1/vms/{vm['id']}", "incident 4711")
    assert commanded.method == "POST"
    [event] = [m for m in messages if m.data == commanded]
    [command] = [m for m in messages if isinstance(m.data, Stop)]
    assert (event.project_id, event.request_id) == ("demo", command.request_id)
    assert command.override == event.override == "incident 4711"
    assert command.actor == event.actor


async def test_what_is_done_without_an_override_is_not_marked(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    await clients.operator.post(f"/v1/vms/{vm['id']}/stop", headers=WHY)
    assert {m.override for m in await said(gateway.database)} == {""}


@pytest.mark.parametrize(
    ("reason", "status"),
    [("", 400), ("   ", 400), ("x" * 501, 400), ("a\tb", 400), ("x" * 500, 200), ("größer", 200)],
)
async def test_a_reason_has_1_to_500_visible_characters(
    gateway: Gateway, admin: httpx.AsyncClient, reason: str, status: int
) -> None:
    headers = {b"X-Override-Reason": reason.encode()}
    answer = await admin.get("/v1/vms", headers=headers)
    assert answer.status_code == status
    assert [each.reason for each in await overrides(gateway)] == ([reason] * (status == 200))


async def test_two_reasons_are_refused(admin: httpx.AsyncClient) -> None:
    twice = [("X-Override-Reason", "a"), ("X-Override-Reason", "b")]
    assert (await admin.get("/v1/vms", headers=twice)).status_code == 400


async def test_nobody_else_overrides(gateway: Gateway, clients: Clients) -> None:
    await make_user(gateway, BOB, {"other": Role.ADMIN})
    async with bearer(gateway, await log_in(gateway, BOB), "demo") as bob:
        assert (await bob.get("/v1/vms", headers=WHY)).status_code == 403
    there = {**WHY, "X-Project-Id": "demo"}
    assert (await clients.stranger.get("/v1/vms", headers=there)).status_code == 403
    assert await overrides(gateway) == []


async def test_there_is_no_overriding_into_a_project_that_there_is_not(
    gateway: Gateway, admin: httpx.AsyncClient
) -> None:
    answer = await admin.get("/v1/vms", headers={**WHY, "X-Project-Id": "nowhere"})
    assert answer.status_code == 403
    assert "X-Override-Reason" not in answer.json()["detail"]


async def test_where_they_are_members_their_role_is_that_of_a_member(
    gateway: Gateway, admin: httpx.AsyncClient
) -> None:
    there = {**WHY, "X-Project-Id": "other"}
    assert (await admin.get("/v1/vms", headers=there)).status_code == 200
    assert (await admin.get("/v1/api-keys", headers=there)).status_code == 403
    assert await overrides(gateway) == []


async def test_what_cannot_be_told_is_not_done(
    gateway: Gateway, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a read: the trail is written before anything is shown."""
    seen = await admin.get("/v1/vms", headers=WHY)
    assert seen.status_code == 200

    async def out(*_: object) -> None:
        raise ConnectionError("the database is gone")

    monkeypatch.setattr("services.gateway.identity.permission.say", out)
    assert (await admin.get("/v1/vms", headers=WHY)).status_code == 503
