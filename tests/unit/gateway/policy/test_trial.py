"""Dry runs: the verdicts and calls of every command, of which nothing is done."""

from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from chassis.tables import METADATA as CHASSIS
from chassis.testing import hear, said
from contracts.access.permission import CommandTried
from contracts.identity import Role
from contracts.message import Action
from contracts.operation.commands import OperationCommand
from contracts.vm.commands import Create, Delete, Import, Update
from contracts.vm.states import VmState
from services.gateway.context import Gateway
from services.gateway.routes.actions import ACTIONS
from services.gateway.steering import STEERS
from services.gateway.tables import METADATA
from services.gateway.turns import COMMANDS
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.identity.world import ADA, bearer, log_in, make_user
from tests.unit.gateway.world import (
    ADMIN_KEY,
    CATALOG,
    CREATE,
    Clients,
    create,
    going,
    hear_catalog,
    make_active,
)

DRY = {"dry_run": "true"}


async def counts(gateway: Gateway) -> dict[str, int]:
    """How many rows each table has."""
    async with gateway.database.reading() as session:
        return {
            table.name: await session.scalar(select(func.count()).select_from(table)) or 0
            for table in (*METADATA.sorted_tables, *CHASSIS.sorted_tables)
        }


async def dry(
    gateway: Gateway, asking: httpx.AsyncClient, method: str, path: str, body: object = None
) -> dict[str, Any]:
    """The answer, of which all that is left is what the audit is told."""
    await said(gateway.database)
    before = await counts(gateway)
    key = {"Idempotency-Key": "k-1", "Prefer": "wait=20"}
    answer = await asking.request(method, path, params=DRY, json=body, headers=key)
    assert answer.status_code == 200, answer.text
    [trace] = await said(gateway.database)
    assert await counts(gateway) == before
    told = answer.json()
    assert isinstance(trace.data, CommandTried)
    assert trace.data.command == told["command"]
    assert trace.data.would_be_accepted is told["would_be_accepted"] is (not trace.data.refused)
    assert told["dry_run"] is True
    return told


def verdicts(told: dict[str, Any]) -> dict[str, bool | None]:
    return {each["check"]: each["passes"] for each in told["verdicts"]}


@pytest.mark.parametrize("kind", ACTIONS, ids=lambda kind: kind.verb())
async def test_an_action_is_told_by_what_the_state_allows(
    gateway: Gateway, clients: Clients, kind: type[Action]
) -> None:
    vm = await make_active(gateway, clients.operator)
    path = f"/v1/vms/{vm['id']}/{kind.verb()}"
    told = await dry(gateway, clients.operator, "POST", path)
    possible = VmState.ACTIVE in kind.change.start
    assert verdicts(told) == {
        "permission": True,
        "policy": True,
        "precondition": True,
        "state": possible,
    }
    assert told["calls"] == (list(kind().calls()) if possible else [])
    assert (told["command"], told["vm_id"]) == (kind.wire_name(), vm["id"])
    viewers = await dry(gateway, clients.viewer, "POST", path)
    assert verdicts(viewers)["permission"] is Role.VIEWER.covers(kind.role)


@pytest.mark.parametrize("kind", STEERS, ids=lambda kind: kind.verb())
async def test_steering_is_told_by_whether_the_operation_goes_on(
    gateway: Gateway, clients: Clients, kind: type[OperationCommand]
) -> None:
    operation = await create(clients.operator)
    path = f"/v1/operations/{operation['id']}/{kind.verb()}"
    told = await dry(gateway, clients.operator, "POST", path)
    assert verdicts(told) == {"permission": True, "policy": True, "state": True}


async def test_to_cancel_a_create_that_was_begun_is_to_delete_what_it_made(
    gateway: Gateway, clients: Clients
) -> None:
    operation = await create(clients.operator)
    path = f"/v1/operations/{operation['id']}/cancel"
    assert (await dry(gateway, clients.operator, "POST", path))["calls"] == []
    started, issued, _ = going(operation)
    await hear(gateway.service, started, issued)
    assert (await dry(gateway, clients.operator, "POST", path))["calls"] == ["DELETE /servers/{id}"]
    given_up = path.replace("cancel", "abandon")
    assert (await dry(gateway, clients.admin, "POST", given_up))["calls"] == []


async def test_a_create_is_told_by_its_references_and_what_is_known_of_quota(
    gateway: Gateway, clients: Clients
) -> None:
    told = await dry(gateway, clients.operator, "POST", "/v1/vms", CREATE)
    assert verdicts(told) == {
        "permission": True,
        "policy": True,
        "references": True,
        "quota": None,
    }
    assert (told["would_be_accepted"], told["calls"]) == (True, ["POST /servers"])
    wrong = await dry(gateway, clients.operator, "POST", "/v1/vms", {**CREATE, "flavor": "huge"})
    assert (wrong["would_be_accepted"], wrong["calls"]) == (False, [])
    [refused] = [each for each in wrong["verdicts"] if each["passes"] is False]
    assert (refused["check"], refused["code"]) == ("references", "invalid")
    assert refused["detail"] == "There is no flavor 'huge'."


async def test_updates_deletes_and_imports_are_told_too(gateway: Gateway, clients: Clients) -> None:
    vm = await make_active(gateway, clients.operator)
    path = f"/v1/vms/{vm['id']}"
    update = await dry(gateway, clients.operator, "PATCH", path, {"name": "x", "tags": []})
    assert update["calls"] == [
        "PUT /servers/{id}",
        "GET /servers/{id}/tags",
        "PUT /servers/{id}/tags",
    ]
    assert (await dry(gateway, clients.operator, "DELETE", path))["would_be_accepted"] is True
    wanted = {"server_ids": ["s-9"]}
    told = await dry(gateway, clients.admin, "POST", "/v1/vms/import", wanted)
    assert verdicts(told)["references"] is False


async def test_every_command_says_what_the_cloud_would_be_asked() -> None:
    made = [
        Create.model_validate({**CREATE}),
        Update(name="x"),
        Delete(),
        Import(server_id="s-1"),
        *[kind() for kind in ACTIONS],
    ]
    assert {type(each) for each in made} == set(COMMANDS.values())
    assert all(each.calls() for each in made)


async def test_a_vm_of_another_project_is_not_there_to_be_tried(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    for path in (f"/v1/vms/{vm['id']}/stop", f"/v1/operations/{vm['id']}/cancel"):
        answer = await clients.stranger.post(path, params=DRY)
        assert answer.status_code == 404


async def test_who_may_not_look_may_not_try(gateway: Gateway, clients: Clients) -> None:
    vm = await make_active(gateway, clients.operator)
    body = {"name": "blind", "role": "operator", "scopes": ["project.read"]}
    made = (await clients.admin.post("/v1/api-keys", json=body)).json()
    async with client(gateway, made["key"]) as blind:
        answer = await blind.post(f"/v1/vms/{vm['id']}/stop", params=DRY)
    assert answer.status_code == 403


@pytest.mark.parametrize("said_as", ["true", "TRUE", "1", "yes", "On", "t", "Y"])
async def test_however_it_is_written_nothing_is_done(
    gateway: Gateway, clients: Clients, said_as: str
) -> None:
    answer = await clients.operator.post("/v1/vms", params={"dry_run": said_as}, json=CREATE)
    assert answer.json()["dry_run"] is True
    for who in (clients.operator, clients.viewer):
        assert (await who.get("/v1/vms")).json()["items"] == []


@pytest.mark.parametrize("said_as", ["false", "0", "off"])
async def test_what_is_no_dry_run_asks_for_the_permission(clients: Clients, said_as: str) -> None:
    answer = await clients.viewer.post("/v1/vms", params={"dry_run": said_as}, json=CREATE)
    assert answer.status_code == 403


async def test_policy_is_told_where_it_asks_for_a_signature(new_gateway: NewGateway) -> None:
    gateway = await new_gateway(signed_permissions=["vm.create"])
    await hear_catalog(gateway, *CATALOG)
    async with client(gateway, ADMIN_KEY) as admin:
        told = await dry(gateway, admin, "POST", "/v1/vms", CREATE)
    assert verdicts(told)["policy"] is False


async def test_an_override_is_told_of_a_dry_run_as_well(gateway: Gateway) -> None:
    await make_user(gateway, ADA, is_admin=True)
    async with bearer(gateway, await log_in(gateway), "demo") as admin:
        await said(gateway.database)
        why = {"X-Override-Reason": "looking"}
        assert (
            await admin.post("/v1/vms", params=DRY, json=CREATE, headers=why)
        ).status_code == 200
    override, tried = await said(gateway.database)
    assert override.type == "admin.override.v1"
    assert tried.override == "looking"
