"""Owner-only projects: one's own VMs and those that are shared, everywhere; admins see all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import httpx
import pytest

from chassis.identity import Caller
from chassis.testing import hear, said
from contracts.access.permission import GrantGiven, GrantRevoked, ProjectChanged
from contracts.identity import Role
from contracts.message import Body, Message
from contracts.vm.states import VmState
from services.gateway.context import Gateway
from services.gateway.followers import Kept, Reset, Wanted
from services.gateway.routes.events import seen_of
from tests.unit.gateway.conftest import client
from tests.unit.gateway.identity.world import ADA, BOB, EVE, bearer, log_in, make_user
from tests.unit.gateway.world import CREATE, Clients, changed, make_active

SHOWN = [
    "/v1/vms/{vm}",
    "/v1/vms/{vm}/history",
    "/v1/vms/{vm}/drift",
    "/v1/vms/{vm}/grants",
    "/v1/operations/{operation}",
    "/v1/permissions?vm_id={vm}",
    "/v1/audit?vm_id={vm}",
    "/v1/audit?operation_id={operation}",
    "/v1/audit/export?vm_id={vm}",
]
DONE: list[tuple[str, str, object]] = [
    ("POST", "/v1/vms/{vm}/stop", None),
    ("POST", "/v1/vms/{vm}/sync", None),
    ("PATCH", "/v1/vms/{vm}", {"name": "mine"}),
    ("DELETE", "/v1/vms/{vm}", None),
    ("PUT", "/v1/vms/{vm}/drift", {"choices": {}}),
    ("POST", "/v1/vms/{vm}/drift/name", {"choice": "accept"}),
    ("POST", "/v1/operations/{operation}/cancel", None),
    ("POST", "/v1/vms/{vm}/grants", {"user_id": str(UUID(int=1)), "role": "viewer"}),
    ("DELETE", "/v1/vms/{vm}/grants/00000000-0000-0000-0000-000000000001", None),
]


@dataclass(frozen=True)
class House:
    """Ada and Bob are operators, Eve looks on; Ada has a VM."""

    gateway: Gateway
    clients: Clients
    ada: httpx.AsyncClient
    bob: httpx.AsyncClient
    eve: httpx.AsyncClient
    ids: dict[str, UUID]
    vm: str
    operation: str

    def path(self, path: str) -> str:
        return path.format(vm=self.vm, operation=self.operation)

    async def share(self, whom: str, role: str) -> None:
        body = {"user_id": str(self.ids[whom]), "role": role}
        answer = await self.ada.post(f"/v1/vms/{self.vm}/grants", json=body)
        assert answer.status_code == 201, answer.text


@pytest.fixture
async def house(gateway: Gateway, clients: Clients) -> AsyncIterator[House]:
    people = {ADA: Role.OPERATOR, BOB: Role.OPERATOR, EVE: Role.VIEWER}
    ids: dict[str, UUID] = {}
    async with AsyncExitStack() as stack:
        opened: list[httpx.AsyncClient] = []
        for email, role in people.items():
            ids[email] = await make_user(gateway, email, {"demo": role})
            made = bearer(gateway, await log_in(gateway, email))
            opened.append(await stack.enter_async_context(made))
        ada, bob, eve = opened
        vm = await make_active(gateway, ada)
        [operation] = (await ada.get("/v1/operations")).json()["items"]
        answer = await clients.admin.patch("/v1/project", json={"owner_only": True})
        assert answer.json()["owner_only"] is True
        yield House(gateway, clients, ada, bob, eve, ids, vm["id"], operation["id"])


async def found(asking: httpx.AsyncClient, path: str) -> list[Any]:
    answer = await asking.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_a_vm_is_whose_who_made_it(house: House) -> None:
    vm = (await house.ada.get(f"/v1/vms/{house.vm}")).json()
    assert vm["owner"] == f"user:{house.ids[ADA]}"


async def test_others_find_no_trace_of_a_vm_that_is_not_theirs(house: House) -> None:
    for other in (house.bob, house.eve, house.clients.operator, house.clients.viewer):
        for path in SHOWN:
            answer = await other.get(house.path(path))
            refused = answer.status_code == 403 and path.endswith("grants")
            assert answer.status_code == 404 or refused, path
        for path in (
            "/v1/vms",
            "/v1/vms?name=web",
            "/v1/vms?deleted=true",
            "/v1/vms?tag=web",
            "/v1/operations",
            f"/v1/operations?vm_id={house.vm}",
            "/v1/drift",
        ):
            assert await found(other, path) == [], path
        assert (await other.get("/v1/vms?total=true")).json()["total"] == 0
        assert (await other.get("/v1/operations?total=true")).json()["total"] == 0


async def test_others_do_nothing_to_it_and_are_not_told_that_it_is_there(house: House) -> None:
    before = (await house.ada.get(f"/v1/vms/{house.vm}")).json()
    for method, path, body in DONE:
        answer = await house.bob.request(method, house.path(path), json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    assert (await house.ada.get(f"/v1/vms/{house.vm}")).json() == before


async def test_the_owner_and_admins_of_the_project_see_and_command_it(house: House) -> None:
    for asking in (house.ada, house.clients.admin):
        assert [vm["id"] for vm in await found(asking, "/v1/vms")] == [house.vm]
        assert (await asking.post(f"/v1/vms/{house.vm}/sync")).status_code == 202
        assert len(await found(asking, "/v1/operations")) >= 1


async def test_a_viewer_by_grant_sees_it_everywhere_and_commands_nothing(house: House) -> None:
    await house.share(BOB, "viewer")
    assert [vm["id"] for vm in await found(house.bob, "/v1/vms")] == [house.vm]
    assert len(await found(house.bob, "/v1/operations")) == 1
    assert (await house.bob.get(f"/v1/vms/{house.vm}")).status_code == 200
    assert (await house.bob.post(f"/v1/vms/{house.vm}/stop")).status_code == 403
    told = (await house.bob.get(f"/v1/permissions?vm_id={house.vm}")).json()["permissions"]
    allowed = {each["permission"]: each["allowed"] for each in told}
    assert (allowed["vm.read"], allowed["vm.stop"]) == (True, False)
    assert (await house.bob.get(f"/v1/vms/{house.vm}/grants")).status_code == 403


async def test_an_operator_by_grant_commands_it_whatever_their_role_is_and_shares_it_not(
    house: House,
) -> None:
    await house.share(EVE, "operator")
    assert (await house.eve.post(f"/v1/vms/{house.vm}/stop")).status_code == 202
    assert (await house.eve.post("/v1/vms", json=CREATE)).status_code == 403
    body = {"user_id": str(house.ids[BOB]), "role": "viewer"}
    assert (await house.eve.post(f"/v1/vms/{house.vm}/grants", json=body)).status_code == 403


async def test_a_grant_raises_a_role_in_projects_that_are_open_too(house: House) -> None:
    await house.clients.admin.patch("/v1/project", json={"owner_only": False})
    assert (await house.eve.get(f"/v1/vms/{house.vm}")).status_code == 200
    assert (await house.eve.post(f"/v1/vms/{house.vm}/stop")).status_code == 403
    await house.share(EVE, "operator")
    assert (await house.eve.post(f"/v1/vms/{house.vm}/stop")).status_code == 202


async def test_a_grant_that_is_revoked_and_a_membership_that_ends_take_the_vm_away(
    house: House,
) -> None:
    await house.share(BOB, "operator")
    path = f"/v1/vms/{house.vm}/grants/{house.ids[BOB]}"
    assert [g["role"] for g in await found(house.ada, path.rpartition("/")[0])] == ["operator"]
    assert (await house.ada.delete(path)).status_code == 204
    assert (await house.ada.delete(path)).status_code == 404
    assert (await house.bob.get(f"/v1/vms/{house.vm}")).status_code == 404
    await house.share(BOB, "viewer")
    for role in (None, "operator"):
        wanted = {"memberships": {"demo": role}}
        await house.clients.admin.patch(f"/v1/users/{house.ids[BOB]}", json=wanted)
    assert await found(house.ada, path.rpartition("/")[0]) == []


async def test_a_vm_is_shared_with_members_alone(house: House) -> None:
    stranger = await make_user(house.gateway, "x@example.org", {"other": Role.ADMIN})
    body = {"user_id": str(stranger), "role": "viewer"}
    answer = await house.ada.post(f"/v1/vms/{house.vm}/grants", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


async def test_a_users_key_owns_for_the_user_and_does_no_more_than_they(house: House) -> None:
    await make_user(house.gateway, "chief@example.org", {"demo": Role.ADMIN})
    tokens = await log_in(house.gateway, "chief@example.org")
    async with bearer(house.gateway, tokens) as chief:
        made = await chief.post("/v1/api-keys", json={"name": "hers", "role": "operator"})
        async with client(house.gateway, made.json()["key"]) as hers:
            vm = await make_active(house.gateway, hers)
            assert [each["id"] for each in await found(hers, "/v1/vms")] == [vm["id"]]
            assert (await hers.get(f"/v1/vms/{house.vm}")).status_code == 404
        me = (await chief.get("/v1/me")).json()["user"]["id"]
        shown = (await chief.get(f"/v1/vms/{vm['id']}")).json()
    assert shown["owner"] == f"user:{me}"


async def test_a_key_that_somebody_used_before_gives_nothing_of_theirs_away(house: House) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = await house.ada.post("/v1/vms", json=CREATE, headers=key)
    again = await house.ada.post("/v1/vms", json=CREATE, headers=key)
    assert again.json()["id"] == first.json()["id"]
    for body in (CREATE, {**CREATE, "name": "other"}):
        answer = await house.bob.post("/v1/vms", json=body, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (422, "key_reused")
        assert first.json()["id"] not in answer.text


async def test_followers_are_told_of_what_they_see_when_it_comes(house: House) -> None:
    await hear(house.gateway.service, changed(house.vm, 2, VmState.STOPPED))
    kept = await _followed(house)
    assert kept
    for asking, role, sees in ((ADA, Role.OPERATOR, True), (BOB, Role.OPERATOR, False)):
        caller = _caller(house, asking, role)
        assert bool(await seen_of(house.gateway, caller, kept)) is sees
    await house.share(BOB, "viewer")
    assert await seen_of(house.gateway, _caller(house, BOB, Role.OPERATOR), kept)


async def _followed(house: House) -> list[Kept | Reset]:
    """What the project's followers would be told by now."""
    watching = asyncio.create_task(house.gateway.tail.watch())
    try:
        async with asyncio.timeout(60):
            async for batch in house.gateway.tail.batches(Wanted("demo"), 0):
                if batch:
                    return batch
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    return []


def _caller(house: House, email: str, role: Role) -> Caller:
    user_id = house.ids[email]
    return replace(Caller(f"user:{user_id}", "demo", role, user_id=user_id), is_private=True)


async def test_the_audit_of_a_private_caller_is_what_they_did_themselves(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def ask(path: str, query: str, *_: object, **__: object) -> httpx.Response:
        asked.append(query)
        return httpx.Response(200, json={})

    monkeypatch.setattr(house.gateway.audit, "ask", ask)
    ada, bob = (f"user%3A{house.ids[each]}" for each in (ADA, BOB))
    assert (await house.bob.get("/v1/audit?limit=5")).status_code == 200
    assert (await house.bob.get(f"/v1/audit?actor={bob}")).status_code == 200
    assert (await house.bob.get(f"/v1/audit?actor={ada}")).status_code == 400
    assert (await house.ada.get(f"/v1/audit?vm_id={house.vm}")).status_code == 200
    twice = f"/v1/audit?vm_id={UUID(int=7)}&vm_id={house.vm}"
    assert (await house.ada.get(twice)).status_code == 200
    assert (await house.clients.admin.get("/v1/audit?limit=5")).status_code == 200
    assert asked == [
        f"limit=5&actor={bob}",
        f"actor={bob}",
        f"vm_id={house.vm}",
        f"vm_id={house.vm}",
        "limit=5",
    ]


async def test_who_changed_what_is_told(house: House) -> None:
    await house.share(BOB, "viewer")
    await house.ada.delete(f"/v1/vms/{house.vm}/grants/{house.ids[BOB]}")
    await house.clients.admin.patch("/v1/project", json={"owner_only": True})
    messages: list[Message[Body]] = list(await said(house.gateway.database))
    told = [
        m.data for m in messages if isinstance(m.data, ProjectChanged | GrantGiven | GrantRevoked)
    ]
    assert told == [
        ProjectChanged(old={"owner_only": False}, new={"owner_only": True}),
        GrantGiven(vm_id=UUID(house.vm), user_id=house.ids[BOB], role=Role.VIEWER),
        GrantRevoked(vm_id=UUID(house.vm), user_id=house.ids[BOB]),
    ]
