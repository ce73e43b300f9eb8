"""The read model told anew, from Kafka's messages or from audit's, is the one that was lost."""

import json
from collections.abc import AsyncGenerator, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import Table, delete, update

from chassis.testing import VirtualClock, hear, said
from contracts.catalog.events import Flavor
from contracts.inventory.events import OrphanFound, OrphanGone, OrphanRemoving, UnmanagedServer
from contracts.message import Body, Message
from contracts.operation.events import Started, Succeeded
from contracts.topics import VM_COMMANDS, topic_of
from contracts.vm.events import State
from contracts.vm.states import VmSnapshot, VmState
from services.gateway.context import Gateway
from services.gateway.forwarding import Audit
from services.gateway.merging import Merge
from services.gateway.rebuild import from_audit, message_of, retell
from services.gateway.tables import CATALOG, OPERATIONS, ORPHANS, UNMANAGED, VM_TAGS, VMS
from tests.unit.gateway.world import CATALOG as WORLD
from tests.unit.gateway.world import NOW, Clients, changed, create, going, told

TABLES = (VMS, OPERATIONS, VM_TAGS)


class TickingClock(VirtualClock):
    """One that shows another time at each look, as a real one does."""

    def __call__(self) -> datetime:
        return self.advance(milliseconds=1)


@pytest.fixture
def clock() -> VirtualClock:
    return TickingClock()


Rows = dict[str, list[dict[str, Any]]]


async def stream(messages: Iterable[Message[Body]]) -> AsyncGenerator[Message[Body]]:
    for message in messages:
        yield message


async def rows(gateway: Gateway, *tables: Table) -> Rows:
    found: Rows = {}
    async with gateway.database.reading() as session:
        for table in tables or TABLES:
            result = await session.execute(table.select())
            found[table.name] = sorted(map(dict, result.mappings().all()), key=repr)
    return found


async def wipe(gateway: Gateway, *tables: Table) -> None:
    async with gateway.database.session() as session:
        for table in tables:
            await session.execute(delete(table))


async def set_all(gateway: Gateway, table: Table, **values: Any) -> None:
    async with gateway.database.session() as session:
        await session.execute(update(table).values(values))


async def rebuilt(
    gateway: Gateway, clock: VirtualClock, messages: Iterable[Message[Body]], *, dry: bool = False
) -> dict[str, int]:
    merge = Merge(gateway.database, clock, await retell(stream(messages)))
    return {name: n for name, n in (await merge.run(dry=dry)).items() if n}


async def lived(gateway: Gateway, clients: Clients, clock: VirtualClock) -> list[Message[Body]]:
    """Three VMs: one made and rebooting, one asked for, one whose create was cancelled."""
    client = clients.operator
    first = await create(client, tags=["a", "b"], user_data="czNjcmV0")
    events = [*going(first)]
    seen = changed(first["vm_id"], 1, VmState.ACTIVE, tags=["a", "c"])
    events.insert(2, seen)
    await hear(gateway.service, *events)
    clock.advance(seconds=5)
    reboot = (await client.post(f"/v1/vms/{first['vm_id']}/reboot")).json()
    started = told(
        Started(command="vm.reboot.v1", attempt=1),
        subject=first["vm_id"],
        operation_id=UUID(reboot["id"]),
        time=clock(),
    )
    await hear(gateway.service, started)
    await create(client, name="web-2", tags=["x"])
    third = await create(client, name="web-3")
    await client.post(f"/v1/operations/{third['id']}/cancel")
    commands = [m for m in await said(gateway.database) if topic_of(type(m.data)) is VM_COMMANDS]
    return [*commands, *events, started]


async def test_tables_that_were_wiped_come_back_as_they_were(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    messages = await lived(gateway, clients, clock)
    before = await rows(gateway)
    await wipe(gateway, *TABLES)
    assert await rebuilt(gateway, clock, messages) == {"vms made": 3, "operations made": 4}
    assert await rows(gateway) == before


async def test_a_model_that_is_right_is_left_alone_also_by_messages_that_come_twice(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    messages = await lived(gateway, clients, clock)
    before = await rows(gateway)
    assert await rebuilt(gateway, clock, [m for each in messages for m in (each, each)]) == {}
    assert await rows(gateway) == before


async def test_rows_that_are_wrong_are_set_right_and_their_etags_move(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    messages = await lived(gateway, clients, clock)
    before = await rows(gateway)
    await set_all(gateway, VMS, name="wrong", operation_id=None, tags=[])
    await set_all(gateway, OPERATIONS, state="failed", actor="nobody")
    await wipe(gateway, VM_TAGS)
    counts = await rebuilt(gateway, clock, messages)
    assert counts == {"vms set": 3, "operations set": 4}
    after = await rows(gateway)
    moved = {"revision", "updated_at"}
    assert without(after["vms"], moved) == without(before["vms"], moved)
    assert (after["operations"], after["vm_tags"]) == (before["operations"], before["vm_tags"])
    old = {row["id"]: row["revision"] for row in before["vms"]}
    assert all(row["revision"] > old[row["id"]] for row in after["vms"])


def without(found: list[dict[str, Any]], names: set[str]) -> list[dict[str, Any]]:
    left = [{k: v for k, v in row.items() if k not in names} for row in found]
    return sorted(left, key=lambda row: str(row["id"]))


async def test_what_the_live_tables_know_that_is_newer_stays(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    messages = await lived(gateway, clients, clock)
    vm_id = messages[-1].subject
    clock.advance(seconds=5)
    newer = changed(vm_id, 2, VmState.STOPPED)
    done = told(
        Succeeded(command="vm.reboot.v1"),
        subject=vm_id,
        operation_id=messages[-1].operation_id,
        time=clock(),
    )
    await hear(gateway.service, newer, done)
    only_here = await create(clients.operator, name="accepted-meanwhile")
    before = await rows(gateway)
    assert await rebuilt(gateway, clock, messages) == {}
    assert await rows(gateway) == before
    assert only_here["vm_id"] in {str(row["id"]) for row in before["vms"]}


async def test_a_dry_run_counts_and_writes_nothing(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    messages = await lived(gateway, clients, clock)
    await wipe(gateway, *TABLES)
    counts = await rebuilt(gateway, clock, messages, dry=True)
    assert counts == {"vms made": 3, "operations made": 4}
    assert await rows(gateway) == {"vms": [], "operations": [], "vm_tags": []}


async def test_killed_in_the_middle_it_is_run_again(
    gateway: Gateway, clients: Clients, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = await lived(gateway, clients, clock)
    before = await rows(gateway)
    await wipe(gateway, *TABLES)
    monkeypatch.setattr("services.gateway.merging.AT_ONCE", 1)
    merge = Merge(gateway.database, clock, await retell(stream(messages)))
    kept = merge.told.vms.pop(max(merge.told.vms))
    await merge.run()
    assert len((await rows(gateway))["vms"]) == 2
    merge.told.vms[kept.row.id] = kept
    await Merge(gateway.database, clock, merge.told).run()
    assert await rows(gateway) == before


async def test_an_event_that_came_before_its_command_by_the_clocks_still_comes_behind_it(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    messages = await lived(gateway, clients, clock)
    early = [
        m.model_copy(update={"time": m.time - timedelta(seconds=3)})
        if isinstance(m.data, Started)
        else m
        for m in messages
    ]
    told_anew = await retell(stream(early))
    assert len(told_anew.asked) == 4
    assert {held.row.seq for held in told_anew.operations.values()} == {1, 2}


async def test_a_vm_of_which_only_the_snapshot_is_left_is_made_of_it(
    gateway: Gateway, clock: VirtualClock
) -> None:
    vm = VmSnapshot(server_id="s-9", name="old", state=VmState.STOPPED)
    state = State(version=7, observed_at=clock(), vm=vm)
    message = told(state, subject="01993b1c-58a5-7c58-8a52-000000000999")
    made = {"vms made": 1, "vms without an owner": 1}
    assert await rebuilt(gateway, clock, [message]) == made
    [row] = (await rows(gateway))["vms"]
    assert (row["name"], row["state"], row["version"]) == ("old", "stopped", 7)


STOCK = (CATALOG, UNMANAGED, ORPHANS)


def stocked() -> list[Message[Body]]:
    """What one account offers and holds: of each kind one that is there and one that is gone."""
    vm = VmSnapshot(server_id="u-1", name="Db", state=VmState.ACTIVE)
    orphan = OrphanFound(kind="port", id="p-1", reason="vm_deleted", proven=True, found_at=NOW)
    gone = orphan.model_copy(update={"id": "p-2"})
    bodies = (
        *WORLD,
        Flavor(id="f-9", name="old", vcpus=1, ram_mb=1, disk_gb=1, gone=True),
        UnmanagedServer(server_id="u-1", vm=vm),
        UnmanagedServer(server_id="u-2", vm=vm, gone=True),
        orphan,
        gone,
        OrphanGone(kind="port", id="p-2"),
    )
    return [told(body, subject="simulator/x") for body in bodies]


async def test_catalog_and_inventory_that_were_wiped_come_back(
    gateway: Gateway, clock: VirtualClock
) -> None:
    messages = stocked()
    await wipe(gateway, *STOCK)
    await hear(gateway.service, *messages)
    before = await rows(gateway, *STOCK)
    await wipe(gateway, *STOCK)
    counts = await rebuilt(gateway, clock, messages)
    assert counts == {"catalog items told": 7, "inventory told": 4}
    after = await rows(gateway, *STOCK)
    before["orphans"] = [row for row in before["orphans"] if row["gone_at"] is None]
    assert after == before


async def test_an_orphan_that_is_being_removed_is_told_to_be_so_after_a_rebuild(
    gateway: Gateway, clock: VirtualClock
) -> None:
    its: dict[str, Any] = {"kind": "port", "id": "p-1", "reason": "vm_deleted", "proven": True}
    found = OrphanFound(**its, found_at=NOW)
    removing = OrphanRemoving(**its, found_at=NOW, since=NOW, attempts=2)
    messages = [told(body, subject="simulator/port/p-1") for body in (found, removing)]
    await wipe(gateway, ORPHANS)
    await hear(gateway.service, *messages)
    before = await rows(gateway, ORPHANS)
    assert before["orphans"][0]["removal_attempts"] == 2
    await wipe(gateway, ORPHANS)
    await rebuilt(gateway, clock, messages)
    assert await rows(gateway, ORPHANS) == before


async def test_catalog_and_inventory_that_nobody_tells_survive_a_rebuild(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    await hear(gateway.service, *stocked())
    messages = await lived(gateway, clients, clock)
    before = await rows(gateway, *STOCK)
    await wipe(gateway, *TABLES)
    await rebuilt(gateway, clock, messages)
    assert await rows(gateway, *STOCK) == before


async def test_a_dry_run_keeps_no_catalog(gateway: Gateway, clock: VirtualClock) -> None:
    await wipe(gateway, *STOCK)
    assert (await rebuilt(gateway, clock, stocked(), dry=True))["catalog items told"] == 7
    assert await rows(gateway, *STOCK) == {table.name: [] for table in STOCK}


async def test_who_made_a_vm_is_known_from_its_events_while_those_are_kept(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    operation = await create(clients.operator)
    events = [each.model_copy(update={"actor": "key:operator"}) for each in going(operation)]
    await wipe(gateway, *TABLES)
    assert await rebuilt(gateway, clock, events) == {"vms made": 1, "operations made": 1}
    [row] = (await rows(gateway))["vms"]
    assert row["owner"] == "key:operator"


async def test_a_vm_without_an_owner_is_given_the_one_that_is_told(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    messages = await lived(gateway, clients, clock)
    before = await rows(gateway)
    await set_all(gateway, VMS, owner="")
    assert await rebuilt(gateway, clock, messages) == {"vms set": 3}
    owners = {row["owner"] for row in before["vms"]}
    assert {row["owner"] for row in (await rows(gateway))["vms"]} == owners


ACCESS = ("address", "client", "credential", "permission")


def entry(message: Message[Body]) -> dict[str, Any]:
    """As audit tells a message."""
    attributes = message.model_dump(mode="json", exclude={"id", "data", "traceparent"})
    access = {name: attributes.pop(name) for name in ACCESS}
    data = message.data.model_dump(mode="json", exclude={"type"})
    if data.get("user_data"):
        data["user_data"] = {"sha256": "0" * 64, "length": 6}
    if data.get("sealed_user_data"):
        data["sealed_user_data"].pop("box")
    told = {"access": access} if any(access.values()) else {}
    return {**attributes, **told, "message_id": str(message.id), "type": message.type, "data": data}


def audit(lines: list[dict[str, Any]]) -> Audit:
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    answer = httpx.Response(200, text=text, headers={"content-type": "application/x-ndjson"})
    transport = httpx.MockTransport(lambda _: answer)
    return Audit("http://audit", timedelta(seconds=5), transport)


async def test_audit_tells_the_same_rows_as_kafka(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    messages = await lived(gateway, clients, clock)
    before = await rows(gateway)
    await wipe(gateway, *TABLES)
    strange = entry(messages[0]) | {"type": "vm.unknown.v9"}
    lines = [*map(entry, messages), strange, {"count": len(messages) + 1, "sha256": ""}]
    told_anew = await retell(from_audit(gateway.settings, audit(lines)))
    await Merge(gateway.database, clock, told_anew).run()
    assert await rows(gateway) == before


async def test_an_export_that_breaks_off_rebuilds_nothing(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    lines = [entry(message) for message in await lived(gateway, clients, clock)]
    for broken in (lines, [*lines, {"count": 99}]):
        with pytest.raises(ValueError, match="audit"):
            await retell(from_audit(gateway.settings, audit(broken)))


async def test_an_entry_is_the_message_but_for_its_secret(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    for message in await lived(gateway, clients, clock):
        read = message_of(entry(message))
        expected = message.model_copy(update={"traceparent": "", "signature": ""})
        if "user_data" in type(message.data).model_fields:
            bare = message.data.model_copy(update={"user_data": None, "sealed_user_data": None})
            expected = expected.model_copy(update={"data": bare})
        assert read == expected
