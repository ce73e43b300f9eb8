"""Imports: servers that somebody else made become VMs, once, and all that were named or none."""

from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, event, select

from chassis.testing import VirtualClock, hear
from contracts.inventory.events import UnmanagedServer
from contracts.message import Body, Message
from contracts.operation.events import Failed
from contracts.operation.states import OperationError
from contracts.vm.commands import Import
from contracts.vm.states import VmSnapshot, VmState
from services.gateway.context import Gateway
from services.gateway.tables import UNMANAGED
from tests.unit.gateway.world import Clients, changed, commanded, going, make_active, told


async def test_a_server_becomes_a_vm_that_is_named_as_it_was(
    gateway: Gateway, clients: Clients
) -> None:
    await hear(gateway.service, server("s-7", name="Db-7", tags=("prod",)))
    answer = await take(clients, server_ids=["s-7"])
    assert answer.status_code == 202
    [operation] = answer.json()["items"]
    assert (operation["command"], operation["state"]) == ("vm.import.v1", "queued")
    [message] = await commanded(gateway)
    assert message.data == Import(server_id="s-7")
    assert message.id == message.operation_id == UUID(operation["id"])
    assert (message.subject, message.account) == (operation["vm_id"], "simulator")
    [vm] = (await clients.viewer.get("/v1/vms?tag=prod&name=db")).json()["items"]
    assert (vm["id"], vm["name"]) == (operation["vm_id"], "Db-7")
    assert (vm["state"], vm["transition"]) == ("requested", "importing")


async def test_an_import_ends_as_the_provisioner_says(gateway: Gateway, clients: Clients) -> None:
    await hear(gateway.service, server("s-7"))
    [operation] = (await take(clients, server_ids=["s-7"])).json()["items"]
    seen = changed(operation["vm_id"], 1, VmState.STOPPED, server_id="s-7")
    await hear(gateway.service, seen, going(operation)[-1], server("s-7", gone=True))
    vm = (await clients.viewer.get(f"/v1/vms/{operation['vm_id']}")).json()
    assert (vm["state"], vm["server_id"], vm["operation"]) == ("stopped", "s-7", None)
    assert (await clients.operator.get("/v1/unmanaged")).json()["items"] == []


async def test_servers_are_taken_in_by_a_filter_up_to_a_limit(
    gateway: Gateway, clients: Clients
) -> None:
    await hear(
        gateway.service,
        *[server(f"s-{n}", name=f"db-{n}", metadata={"team": "shop"}) for n in range(4)],
        server("s-4", name="db-4", metadata={"team": "other"}),
        server("s-5", name="db-5", metadata={"team": "shop"}, state="stopped"),
        server("s-6", name="web"),
    )
    wanted = {"name": "DB-*", "state": ["active"], "metadata": {"team": "shop"}}
    assert (await take(clients, filter=wanted, limit=3)).json()["items"] != []
    assert taken_in(await commanded(gateway)) == ["s-0", "s-1", "s-2"]
    await take(clients, filter=wanted)
    assert taken_in(await commanded(gateway)) == ["s-3"]
    answer = await take(clients, filter=wanted)
    assert (answer.status_code, answer.json()["items"]) == (202, [])


async def test_many_servers_are_taken_in_by_as_many_statements_as_few(
    gateway: Gateway, clients: Clients
) -> None:
    await hear(gateway.service, *[server(f"s-{n}", name=f"db-{n}") for n in range(60)])
    few = await statements(take(clients, filter={"name": "db-*"}, limit=2))
    many = await statements(take(clients, filter={"name": "db-*"}, limit=58))
    assert len(taken_in(await commanded(gateway))) == 60
    if gateway.database.is_postgres:
        assert many <= few


async def statements(request: Coroutine[Any, Any, Any]) -> int:
    """How many statements a request makes; one that is executed with many rows is so many."""
    count = 0

    def note(_c: object, _k: object, _s: str, given: Any, _x: object, many: bool) -> None:
        nonlocal count
        count += len(given) if many else 1

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert (await request).status_code == 202
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return count


async def test_a_server_of_another_account_with_the_same_id_stays_as_it_is(
    gateway: Gateway, clients: Clients
) -> None:
    theirs = server("s-7").model_copy(update={"account": "elsewhere"})
    await hear(gateway.service, server("s-7"), theirs)
    [operation] = (await take(clients, server_ids=["s-7"])).json()["items"]
    async with gateway.database.reading() as session:
        rows = (await session.execute(select(UNMANAGED.c.account, UNMANAGED.c.vm_id))).all()
    assert set(map(tuple, rows)) == {("simulator", UUID(operation["vm_id"])), ("elsewhere", None)}


async def test_nothing_is_taken_in_where_one_server_is_unknown(
    gateway: Gateway, clients: Clients
) -> None:
    await hear(gateway.service, server("s-7"), server("s-8"), server("s-8", gone=True))
    answer = await take(clients, server_ids=["s-7", "s-8", "s-9"])
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["servers"] == ["s-8", "s-9"]
    assert await commanded(gateway) == []
    assert (await clients.viewer.get("/v1/vms")).json()["items"] == []


async def test_nothing_is_taken_in_where_one_server_is_a_vm(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    await hear(gateway.service, server("s-7"))
    await commanded(gateway)
    answer = await take(clients, server_ids=["s-7", vm["server_id"]])
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.json()["servers"] == [vm["server_id"]]
    assert await commanded(gateway) == []


async def test_a_server_is_asked_for_once_and_again_after_that_failed(
    gateway: Gateway, clients: Clients
) -> None:
    await hear(gateway.service, server("s-7"))
    [operation] = (await take(clients, server_ids=["s-7"])).json()["items"]
    again = await take(clients, server_ids=["s-7"])
    assert (again.status_code, again.json()["servers"]) == (409, ["s-7"])
    error = OperationError.model_validate({"code": "cloud_fault", "detail": "no"})
    failed = Failed(command="vm.import.v1", error=error)
    operation_id = UUID(operation["id"])
    await hear(gateway.service, told(failed, subject=operation["vm_id"], operation_id=operation_id))
    assert (await take(clients, server_ids=["s-7"])).status_code == 202


async def test_the_same_request_with_the_same_key_is_carried_out_once(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    await hear(gateway.service, server("s-1"), server("s-2"))
    wanted = {"filter": {"name": "*"}, "limit": 1}
    first = await take(clients, key="k", **wanted)
    again = await take(clients, key="k", **wanted)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(await commanded(gateway)) == 1
    other = await take(clients, key="k", filter={"name": "*"})
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    clock.advance(days=2)
    assert "Idempotent-Replayed" not in (await take(clients, key="k", **wanted)).headers
    assert taken_in(await commanded(gateway)) == ["s-2"]


async def test_a_key_whose_request_was_refused_is_free(gateway: Gateway, clients: Clients) -> None:
    assert (await take(clients, key="k", server_ids=["s-7"])).status_code == 404
    await hear(gateway.service, server("s-7"))
    answer = await take(clients, key="k", server_ids=["s-7"])
    assert answer.status_code == 202
    assert "Idempotent-Replayed" not in answer.headers


async def test_operators_see_what_only_admins_take_in(gateway: Gateway, clients: Clients) -> None:
    await hear(gateway.service, server("s-7"))
    assert len((await clients.operator.get("/v1/unmanaged")).json()["items"]) == 1
    refused = await clients.operator.post("/v1/vms/import", json={"server_ids": ["s-7"]})
    assert refused.status_code == 403
    elsewhere = await clients.stranger.post("/v1/vms/import", json={"server_ids": ["s-7"]})
    assert elsewhere.status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"server_ids": []},
        {"server_ids": ["s-1", "s-1"]},
        {"server_ids": ["../x"]},
        {"server_ids": [f"s-{n}" for n in range(501)]},
        {"server_ids": ["s-1"], "filter": {"name": "*"}},
        {"filter": {}},
        {"filter": {"metadata": {}}},
        {"filter": {"state": []}},
        {"filter": {"state": ["asleep"]}},
        {"filter": {"name": "*"}, "limit": 501},
        {"filter": {"name": "*", "owner": "me"}},
    ],
)
async def test_a_request_that_says_nothing_clear_is_refused(
    clients: Clients, body: dict[str, Any]
) -> None:
    answer = await take(clients, **body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid"), answer.text


async def take(clients: Clients, key: str | None = None, **body: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return await clients.admin.post("/v1/vms/import", json=body, headers=headers)


def taken_in(messages: list[Message[Body]]) -> list[str]:
    return [m.data.server_id for m in messages if isinstance(m.data, Import)]


def server(server_id: str, *, gone: bool = False, **fields: Any) -> Message[Body]:
    known = {"server_id": server_id, "name": "db-1", "state": "active"}
    vm = VmSnapshot.model_validate({**known, **fields})
    data = UnmanagedServer(server_id=server_id, gone=gone, vm=vm)
    return told(data, subject=f"simulator/server/{server_id}", project_id="")
