"""VMs over HTTP: asked for, shown, changed, deleted."""

from uuid import UUID

import httpx
import pytest

from chassis.testing import hear, said
from contracts.catalog.events import Network
from contracts.vm.commands import Create
from contracts.vm.states import VmState
from services.gateway.context import Gateway
from tests.unit.gateway.world import (
    CREATE,
    Clients,
    changed,
    create,
    going,
    hear_catalog,
    make_active,
)


async def test_a_create_is_accepted_said_and_shown_at_once(
    gateway: Gateway, clients: Clients
) -> None:
    answer = await clients.operator.post("/v1/vms", json=CREATE)
    operation = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/operations/{operation['id']}"
    assert operation["state"] == "queued"
    assert operation["steps"][0]["name"] == "accepted"
    [message] = await said(gateway.database)
    assert message.id == message.operation_id == UUID(operation["id"])
    assert message.subject == operation["vm_id"]
    assert message.account == "simulator"
    assert message.request_id == answer.headers["X-Openstack-Request-Id"]
    assert message.data == Create(name="web-1", flavor="f-1", image="i-1", networks=["n-1"])
    vm = (await clients.viewer.get(f"/v1/vms/{operation['vm_id']}")).json()
    assert (vm["state"], vm["transition"]) == ("requested", "creating")
    assert vm["operation"]["id"] == operation["id"]
    assert vm["image"] == {"id": "i-1", "name": "debian-12"}


async def test_a_vm_becomes_what_sync_saw_and_its_operation_ends(
    gateway: Gateway, clients: Clients
) -> None:
    operation = await create(clients.operator)
    started, issued, succeeded = going(operation)
    address = {"network": "private", "address": "10.0.0.7", "version": 4}
    seen = changed(operation["vm_id"], 1, VmState.ACTIVE, addresses=[address])
    await hear(gateway.service, started, issued, seen, succeeded)
    vm = (await clients.viewer.get(f"/v1/vms/{operation['vm_id']}")).json()
    assert (vm["state"], vm["transition"], vm["operation"]) == ("active", None, None)
    assert vm["addresses"][0]["address"] == "10.0.0.7"
    ended = (await clients.viewer.get(f"/v1/operations/{operation['id']}")).json()
    assert ended["state"] == "succeeded"
    assert [s["name"] for s in ended["steps"]] == ["accepted", "started", "issued", "succeeded"]
    assert ended["links"]["cancel"] is None


async def test_an_action_that_the_state_forbids_names_the_states_that_allow_it(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    answer = await clients.operator.post(f"/v1/vms/{vm['id']}/start")
    assert answer.status_code == 409
    problem = answer.json()
    assert problem["code"] == "state_conflict"
    assert (problem["state"], problem["allowed"]) == ("active", ["stopped"])


async def test_a_second_command_waits_its_turn_and_says_for_what(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    stop = (await clients.operator.post(f"/v1/vms/{vm['id']}/stop")).json()
    start = (await clients.operator.post(f"/v1/vms/{vm['id']}/start")).json()
    assert (start["waits_for"], start["position"]) == (stop["id"], 1)
    shown = (await clients.viewer.get(f"/v1/vms/{vm['id']}")).json()
    assert shown["transition"] == "stopping"
    await hear(gateway.service, *going(stop))
    shown = (await clients.viewer.get(f"/v1/vms/{vm['id']}")).json()
    assert (shown["transition"], shown["operation"]["id"]) == ("starting", start["id"])
    start = (await clients.viewer.get(f"/v1/operations/{start['id']}")).json()
    assert (start["waits_for"], start["position"]) == (None, 0)


async def test_nothing_follows_a_delete(gateway: Gateway, clients: Clients) -> None:
    vm = await make_active(gateway, clients.operator)
    deletion = (await clients.operator.delete(f"/v1/vms/{vm['id']}")).json()
    answer = await clients.operator.post(f"/v1/vms/{vm['id']}/stop")
    assert answer.status_code == 409
    assert (answer.json()["state"], answer.json()["operation"]) == ("deleted", deletion["id"])


async def test_a_change_asks_for_the_revision_that_was_read(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    url = f"/v1/vms/{vm['id']}"
    etag = (await clients.viewer.get(url)).headers["ETag"]
    body = {"name": "web-2"}
    stale = await clients.operator.patch(url, json=body, headers={"If-Match": '"0"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    fresh = await clients.operator.patch(url, json=body, headers={"If-Match": etag})
    assert fresh.status_code == 202
    again = await clients.operator.patch(url, json=body, headers={"If-Match": etag})
    assert again.status_code == 412


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"flavor": "no-such"}, "body.flavor"),
        ({"image": "no-such"}, "body.image"),
        ({"image": "debian-9"}, "body.image"),
        ({"networks": ["private", "no-such"]}, "body.networks.1"),
        ({"key_name": "no-such"}, "body.key_name"),
    ],
)
async def test_what_the_account_does_not_offer_is_a_400_that_names_the_field(
    clients: Clients, fields: dict[str, object], field: str
) -> None:
    answer = await clients.operator.post("/v1/vms", json=CREATE | fields)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == [field]


async def test_where_there_are_several_networks_a_create_has_to_name_one(
    gateway: Gateway, clients: Clients
) -> None:
    await hear_catalog(gateway, Network(id="n-3", name="backend"))
    answer = await clients.operator.post("/v1/vms", json=CREATE)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == ["body.networks"]
    assert "backend, private" in answer.json()["detail"]
    for networks in (["backend"], []):
        answer = await clients.operator.post("/v1/vms", json=CREATE | {"networks": networks})
        assert answer.status_code == 202


async def test_before_sync_has_swept_a_create_is_told_to_come_again(clients: Clients) -> None:
    answer = await clients.stranger.post("/v1/vms", json=CREATE)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"


async def test_prefer_wait_answers_with_the_end(gateway: Gateway, clients: Clients) -> None:
    answer: httpx.Response = await clients.operator.post(
        "/v1/vms", json=CREATE, headers={"Prefer": "wait=0"}
    )
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "wait=0")
    await hear(gateway.service, *going(answer.json()))
    url = f"/v1/operations/{answer.json()['id']}"
    ended = await clients.viewer.get(url, headers={"Prefer": "respond-async, wait=20"})
    assert (ended.status_code, ended.json()["state"]) == (200, "succeeded")
