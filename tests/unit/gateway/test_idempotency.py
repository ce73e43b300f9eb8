"""The same Idempotency-Key never makes two operations."""

import asyncio

from chassis.testing import VirtualClock
from services.gateway.context import Gateway
from tests.unit.gateway.world import CREATE, Clients, commanded, make_active

KEY = {"Idempotency-Key": "k-1"}


async def test_the_same_request_again_is_the_same_operation(
    gateway: Gateway, clients: Clients
) -> None:
    first = await clients.operator.post("/v1/vms", json=CREATE, headers=KEY)
    second = await clients.operator.post("/v1/vms", json=CREATE, headers=KEY)
    assert second.status_code == 202
    assert second.json() == first.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert len(await commanded(gateway)) == 1


async def test_two_at_once_are_one_operation(gateway: Gateway, clients: Clients) -> None:
    post = clients.operator.post
    asked = [post("/v1/vms", json=CREATE, headers=KEY) for _ in range(5)]
    answers = await asyncio.gather(*asked)
    assert {each.status_code for each in answers} == {202}
    assert len({each.json()["id"] for each in answers}) == 1
    assert len(await commanded(gateway)) == 1


async def test_another_body_or_path_under_the_same_key_is_a_422(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    await clients.operator.post("/v1/vms", json=CREATE, headers=KEY)
    other = CREATE | {"name": "web-2"}
    answer = await clients.operator.post("/v1/vms", json=other, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (422, "key_reused")
    answer = await clients.operator.post(f"/v1/vms/{vm['id']}/stop", headers=KEY)
    assert answer.status_code == 422


async def test_a_refused_command_does_not_use_the_key_up(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    refused = await clients.operator.post(f"/v1/vms/{vm['id']}/start", headers=KEY)
    assert refused.status_code == 409
    answer = await clients.operator.post(f"/v1/vms/{vm['id']}/stop", headers=KEY)
    assert answer.status_code == 202


async def test_keys_are_a_projects_own_and_expire(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    first = await clients.operator.post("/v1/vms", json=CREATE, headers=KEY)
    clock.advance(hours=25)
    later = await clients.operator.post("/v1/vms", json=CREATE, headers=KEY)
    assert later.status_code == 202
    assert later.json()["id"] != first.json()["id"]


async def test_a_key_with_other_than_visible_characters_is_a_400(clients: Clients) -> None:
    for key in ("", "two words", "x" * 256, "caf\u00e9"):
        headers = [(b"Idempotency-Key", key.encode("latin-1"))]
        answer = await clients.operator.post("/v1/vms", json=CREATE, headers=headers)
        assert answer.status_code == 400, key
