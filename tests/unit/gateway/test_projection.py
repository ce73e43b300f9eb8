"""The read model: late, repeated and unknown messages leave it right."""

from typing import Any
from uuid import UUID

from sqlalchemy import delete, select

from chassis.ids import new_id
from chassis.tables import INBOX
from chassis.testing import VirtualClock, hear
from chassis.wire import Record, encode
from contracts.dead_letter import DeadLetter
from contracts.errors import ErrorCode
from contracts.message import Body, Message
from contracts.operation.commands import Cancel
from contracts.operation.events import Cancelled, Failed, Retrying, Started
from contracts.operation.states import OperationError
from contracts.topics import VM_EVENTS
from contracts.vm.states import VmState
from services.gateway.context import Gateway
from services.gateway.tables import EVENTS, OPERATIONS, VM_TAGS, VMS, columns
from tests.unit.gateway.world import (
    NOW,
    Clients,
    changed,
    commanded,
    create,
    going,
    make_active,
    told,
)

QUOTA = OperationError(code=ErrorCode.QUOTA, detail="Quota exceeded for cores.")


async def test_an_older_version_changes_nothing(gateway: Gateway, clients: Clients) -> None:
    vm = await make_active(gateway, clients.operator)
    await hear(gateway.service, changed(vm["id"], 3, VmState.STOPPED))
    await hear(gateway.service, changed(vm["id"], 2, VmState.ACTIVE))
    shown = (await clients.viewer.get(f"/v1/vms/{vm['id']}")).json()
    assert (shown["state"], shown["version"]) == ("stopped", 3)


async def test_the_etag_moves_with_each_visible_change_and_only_then(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    url = f"/v1/vms/{vm['id']}"
    before = (await clients.viewer.get(url)).headers["ETag"]
    await hear(gateway.service, changed(vm["id"], 1, VmState.ACTIVE))
    assert (await clients.viewer.get(url)).headers["ETag"] == before
    await hear(gateway.service, changed(vm["id"], 2, VmState.STOPPED))
    assert (await clients.viewer.get(url)).headers["ETag"] != before


async def test_a_vm_that_never_had_a_server_keeps_what_was_asked_for(
    gateway: Gateway, clients: Clients
) -> None:
    vm_id = (await create(clients.operator, tags=["prod"]))["vm_id"]
    nothing = {"server_id": None, "name": "", "tags": ()}
    await hear(gateway.service, changed(vm_id, 1, VmState.ERROR, **nothing))
    shown = (await clients.viewer.get(f"/v1/vms/{vm_id}")).json()
    assert (shown["state"], shown["name"], shown["tags"]) == ("error", "web-1", ["prod"])


async def test_of_a_server_that_was_lost_before_its_create_ended_nothing_is_left_to_see(
    gateway: Gateway, clients: Clients
) -> None:
    vm_id = (await create(clients.operator))["vm_id"]
    fixed = {"network": "private", "address": "10.0.0.5", "version": 4, "kind": "fixed"}
    await hear(gateway.service, changed(vm_id, 1, VmState.ACTIVE, addresses=[fixed]))
    nothing = {"server_id": None, "name": "", "addresses": ()}
    await hear(gateway.service, changed(vm_id, 2, VmState.ERROR, **nothing))
    shown = (await clients.viewer.get(f"/v1/vms/{vm_id}")).json()
    assert (shown["state"], shown["server_id"], shown["addresses"]) == ("error", None, [])
    assert shown["name"] == "web-1"


async def test_a_vm_that_is_not_known_gets_its_row(gateway: Gateway, clients: Clients) -> None:
    vm_id = str(new_id())
    await hear(gateway.service, changed(vm_id, 4, VmState.ACTIVE, name="old", tags=["x"]))
    shown = (await clients.viewer.get(f"/v1/vms/{vm_id}")).json()
    assert (shown["name"], shown["state"], shown["version"]) == ("old", "active", 4)
    assert (await clients.viewer.get("/v1/vms?tag=x")).json()["items"][0]["id"] == vm_id


async def test_an_operation_that_is_not_known_is_rebuilt(
    gateway: Gateway, clients: Clients
) -> None:
    lost = {"id": str(new_id()), "vm_id": str(new_id()), "command": "vm.reboot.v1"}
    started, issued, succeeded = going(lost)
    await hear(gateway.service, started, issued)
    shown = (await clients.viewer.get(f"/v1/vms/{lost['vm_id']}")).json()
    assert (shown["transition"], shown["operation"]["id"]) == ("rebooting", lost["id"])
    await hear(gateway.service, succeeded)
    operation = (await clients.viewer.get(f"/v1/operations/{lost['id']}")).json()
    assert operation["state"] == "succeeded"


async def test_a_retry_says_why_and_on_what_it_waits(gateway: Gateway, clients: Clients) -> None:
    operation = await create(clients.operator)
    retrying = Retrying(
        command="vm.create.v1", attempt=1, due_at=NOW, error=QUOTA, blocked_on="quota"
    )
    await hear(gateway.service, about(operation, Started(command="vm.create.v1", attempt=1)))
    await hear(gateway.service, about(operation, retrying))
    shown = (await clients.viewer.get(f"/v1/operations/{operation['id']}")).json()
    assert (shown["state"], shown["blocked_on"]) == ("queued", "quota")
    assert shown["error"]["detail"] == QUOTA.detail


async def test_nothing_follows_an_end(gateway: Gateway, clients: Clients) -> None:
    operation = await create(clients.operator)
    failed = Failed(command="vm.create.v1", error=QUOTA)
    await hear(gateway.service, about(operation, failed), about(operation, failed))
    await hear(gateway.service, about(operation, Started(command="vm.create.v1", attempt=2)))
    shown = (await clients.viewer.get(f"/v1/operations/{operation['id']}")).json()
    assert shown["state"] == "failed"
    assert [step["name"] for step in shown["steps"]] == ["accepted", "failed"]


async def test_a_cancel_is_said_once_and_ends_with_the_provisioners_word(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    operation = await create(clients.operator)
    await commanded(gateway)
    url = f"/v1/operations/{operation['id']}"
    for _ in range(2):
        assert (await clients.operator.post(f"{url}/cancel")).status_code == 202
    [message] = await commanded(gateway)
    assert message.data == Cancel(target=UUID(operation["id"]), command="vm.create.v1")
    assert (message.subject, message.account) == (operation["vm_id"], "simulator")
    await hear(gateway.service, about(operation, Cancelled(command="vm.create.v1")))
    assert (await clients.viewer.get(url)).json()["state"] == "cancelled"
    assert (await clients.operator.post(f"{url}/cancel")).status_code == 409


async def test_what_is_started_and_cannot_be_undone_is_not_cancelled(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    stop = (await clients.operator.post(f"/v1/vms/{vm['id']}/stop")).json()
    await hear(gateway.service, about(stop, Started(command="vm.stop.v1", attempt=1)))
    answer = await clients.operator.post(f"/v1/operations/{stop['id']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_a_cancel_is_offered_only_where_it_would_be_taken(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    stop = (await clients.operator.post(f"/v1/vms/{vm['id']}/stop")).json()
    made = await create(clients.operator)
    assert stop["links"]["cancel"] == f"/v1/operations/{stop['id']}/cancel"
    for each, command, offered in ((stop, "vm.stop.v1", False), (made, "vm.create.v1", True)):
        await hear(gateway.service, about(each, Started(command=command, attempt=1)))
        shown = (await clients.viewer.get(f"/v1/operations/{each['id']}")).json()
        assert (shown["links"]["cancel"] is not None) is offered


async def test_a_batch_is_taken_as_if_its_messages_came_one_by_one(
    gateway: Gateway, clients: Clients
) -> None:
    """Every field of VMs and operations: at once, in pieces, and with each message twice."""
    ids = [str(new_id()) for _ in range(3)]
    stream: list[Message[Body]] = []
    for vm_id in ids:
        lost = {"id": str(new_id()), "vm_id": vm_id, "command": "vm.stop.v1"}
        queued = {"id": str(new_id()), "vm_id": vm_id, "command": "vm.start.v1"}
        retrying = Retrying(command="vm.start.v1", attempt=1, due_at=NOW, error=QUOTA)
        stream += [
            changed(vm_id, 1, VmState.ACTIVE, tags=["a", "b"]),
            *going(lost)[:2],
            about(queued, retrying),
            changed(vm_id, 3, VmState.STOPPED, tags=["b", "c"]),
            changed(vm_id, 2, VmState.ACTIVE, tags=["z"]),
            going(lost)[2],
        ]
    records = [encode(message) for message in stream]
    told = await _read_model(gateway, [[record] for record in records], clients)
    for pieces in ([records], [records[:5], records[5:]], [records * 2, records]):
        await _empty(gateway)
        assert await _read_model(gateway, pieces, clients) == told


async def _read_model(
    gateway: Gateway, pieces: list[list[Record]], clients: Clients
) -> list[list[dict[str, Any]]]:
    [consumer] = [each for each in gateway.service.consumers if each.topic is VM_EVENTS]
    for piece in pieces:
        await consumer.consume(piece)
    found: list[list[dict[str, Any]]] = []
    async with gateway.database.reading() as session:
        for table in (VMS, OPERATIONS, VM_TAGS):
            rows = (await session.execute(select(table))).all()
            found.append(sorted((dict(columns(row)) for row in rows), key=str))
        kept = (await session.execute(select(EVENTS.c.event).order_by(EVENTS.c.id))).scalars()
        found.append(list(kept))
    return found


async def _empty(gateway: Gateway) -> None:
    async with gateway.database.session() as session:
        for table in (VMS, OPERATIONS, VM_TAGS, EVENTS, INBOX):
            await session.execute(delete(table))


async def test_a_message_that_cannot_be_taken_does_not_hold_up_its_batch(
    gateway: Gateway, clients: Clients
) -> None:
    vm_id = str(new_id())
    records = [
        encode(changed(vm_id, 1, VmState.ACTIVE)),
        encode(changed("no uuid", 1, VmState.ACTIVE)),
        encode(changed(vm_id, 2, VmState.STOPPED)),
    ]
    [consumer] = [each for each in gateway.service.consumers if each.topic is VM_EVENTS]
    await consumer.consume(records)
    shown = (await clients.viewer.get(f"/v1/vms/{vm_id}")).json()
    assert (shown["state"], shown["version"]) == ("stopped", 2)
    [letter] = await commanded(gateway)
    assert isinstance(letter.data, DeadLetter)


def about(operation: dict[str, str], data: Body) -> Message[Body]:
    return told(data, subject=operation["vm_id"], operation_id=UUID(operation["id"]))
