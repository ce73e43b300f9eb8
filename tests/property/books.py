"""What must hold once everything has settled: cloud, read model, Kafka and audit tell one story."""

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import select

from contracts.vm.events import Observed
from contracts.vm.states import VmState
from services.audit.tables import LEDGER
from services.gateway.tables import EVENTS
from tests.property.world import Json, World

FINAL = {"succeeded", "failed", "cancelled"}
ENDS = {f"operation.{state}.v1" for state in FINAL}
ROUNDS = 60
SOON, LATER = 30.0, 250.0
QUIET_SECONDS = 1200.0
"""How long nothing happens before it is over: an ended create is checked for stragglers for 720, a
list of everything comes within 850, and what that misses is looked at one round later.
"""


async def settle(world: World) -> None:
    """Let time pass until nothing happens any more, for as long as something may come of it."""
    quiet = 0.0
    for _ in range(ROUNDS):
        pause = LATER if quiet else SOON
        world.clock.advance(seconds=pause)
        quiet = 0.0 if await _go_on(world) else quiet + pause
        if quiet > QUIET_SECONDS:
            return


async def _go_on(world: World) -> int:
    """Every service does what there is to do, and so does the cloud; how much that was."""
    moved = await world.settle_messages()
    while some := await world.work():
        moved += some
    moved += await world.settle_messages() if moved else 0
    world.cloud.settle()
    await world.sweeper.sweep_once()
    return moved + await world.settle_messages()


async def differences(world: World, accepted: set[str]) -> AsyncIterator[str]:
    """Everything that is not as it should be; `accepted`: the ids of operations that callers know."""
    operations = {o["id"]: o for o in await world.pages("/v1/operations?limit=200")}
    states = "&".join(f"state={state.value}" for state in VmState)
    vms = {vm["id"]: vm for vm in await world.pages(f"/v1/vms?limit=200&{states}")}
    unmanaged = {each["id"]: each for each in await world.pages("/v1/unmanaged?limit=200")}
    for each in (
        _of_operations(world, operations, accepted),
        _of_vms(vms),
        _of_cloud(world, vms),
        _of_strangers(world, vms, unmanaged),
        _of_belongings(world, operations, vms),
        _of_kafka(world, vms),
    ):
        for difference in each:
            yield difference
    async for difference in _of_followers(world):
        yield difference
    async for difference in _of_audit(world, operations):
        yield difference


def _of_operations(world: World, operations: dict[str, Json], accepted: set[str]) -> list[str]:
    found = [f"operation {each} was accepted and is lost" for each in accepted - operations.keys()]
    ends = Counter(
        record.headers["ce_operationid"]
        for record in _once(world, "vm.events")
        if record.headers["ce_type"] in ENDS
    )
    for each, shown in operations.items():
        if shown["state"] not in FINAL:
            found.append(f"{shown['command']} {each} is {shown['state']}: {shown['error']}")
        if ends[each] != 1:
            found.append(f"{shown['command']} {each} ({shown['state']}) ended {ends[each]} times")
    return found


def _of_vms(vms: dict[str, Json]) -> list[str]:
    return [
        f"vm {vm['id']} is {vm['state']}, still {vm['transition']} by {vm['operation']}"
        for vm in vms.values()
        if vm["operation"] is not None or vm["transition"] is not None
    ]


def _of_cloud(world: World, vms: dict[str, Json]) -> list[str]:
    """Every server that carries a mark is its VM's one server, in the state that is shown."""
    found: list[str] = []
    held: dict[str, list[str]] = defaultdict(list)
    for server in world.cloud.alive():
        if server.mark is not None:
            vm_id, server_id = str(server.mark.vm_id), str(server.snapshot.server_id)
            held[vm_id].append(server_id)
            shown = vms.get(vm_id)
            if shown is None or (shown["server_id"], shown["state"]) != (server_id, server.state):
                got = shown and (shown["server_id"], shown["state"])
                found.append(f"{server_id} of vm {vm_id} is {server.state}, shown as {got}")
    found += [f"a second server was asked for beside {each}" for each in world.repeated]
    found += [f"vm {vm} has {servers}" for vm, servers in held.items() if len(servers) > 1]
    present = {s.snapshot.server_id for s in world.cloud.alive()}
    found += [
        f"vm {vm['id']} is shown as {vm['state']}, {vm['server_id']} is not in the cloud"
        for vm in vms.values()
        if vm["state"] not in {"deleted", "missing"} and vm["server_id"]
        if vm["server_id"] not in present
    ]
    return found


def _of_strangers(world: World, vms: dict[str, Json], unmanaged: dict[str, Json]) -> list[str]:
    """What others made is one VM, in the state that is shown, or told as unmanaged, never both."""
    found: list[str] = []
    theirs = {s.snapshot.server_id or "": s for s in world.cloud.alive() if s.mark is None}
    for server_id, server in theirs.items():
        has = {i: vm for i, vm in vms.items() if vm["server_id"] == server_id}
        own = [i for i, vm in has.items() if vm["state"] != "deleted"]
        told = [unmanaged[server_id]] if server_id in unmanaged else []
        if len(own) + len(told) != 1:
            found.append(f"{server_id}, made by others, is {own} and {len(told)} times unmanaged")
        found += [
            f"{server_id}, made by others, is {server.state}, shown as {shown['state']}"
            for shown in [*(vms[i] for i in own), *told]
            if shown["state"] != server.state
        ]
    gone = sorted(unmanaged.keys() - theirs.keys())
    return found + [f"{each} is told as unmanaged and is not in the cloud" for each in gone]


def _of_belongings(world: World, operations: dict[str, Json], vms: dict[str, Json]) -> list[str]:
    """What was made for a VM goes with it when it is deleted; what is others' stays."""
    left = world.cloud.resources
    deleted = {
        (each["vm_id"], vms.get(each["vm_id"], {}).get("server_id"))
        for each in operations.values()
        if (each["command"], each["state"]) == ("vm.delete.v1", "succeeded")
    }
    found = [
        f"{each.id} was made for vm {each.mark.vm_id}, which is deleted"
        for each in world.attached
        if each.mark is not None and each.id in left
        if (str(each.mark.vm_id), each.server_id) in deleted
    ]
    theirs = [each.id for each in world.attached if each.mark is None and each.id not in left]
    return found + [f"{each} was somebody's own and is gone" for each in theirs]


def _once(world: World, topic: str) -> list[Any]:
    first: dict[str, Any] = {}
    for record in world.bus.all(topic):
        first.setdefault(record.headers["ce_id"], record)
    return list(first.values())


def _of_kafka(world: World, vms: dict[str, Json]) -> list[str]:
    """Changes are numbered without a gap, and the last one is what the read model shows."""
    found: list[str] = []
    changes: dict[str, list[Json]] = defaultdict(list)
    for record in _once(world, "vm.events"):
        if record.headers["ce_type"] == "vm.changed.v1":
            changes[record.key].append(json.loads(record.value))
    for vm_id, said in changes.items():
        versions = [each["version"] for each in said]
        if versions != list(range(1, len(versions) + 1)):
            found.append(f"the changes of vm {vm_id} are numbered {versions}")
        last, shown = said[-1]["vm"], vms.get(vm_id, {})
        found += [
            f"vm {vm_id}: {name} is {last[name]!r} on Kafka, {shown.get(name)!r} in the read model"
            for name in (("state", "server_id", "name") if last["server_id"] else ("state",))
            if last[name] != shown.get(name)
        ]
    letters = [json.loads(record.value) for record in world.bus.all("dead.letters")]
    return found + [f"dead letter: {letter['reason']}" for letter in letters]


async def _of_followers(world: World) -> AsyncIterator[str]:
    """What happened to VMs is told to followers once, however often Kafka tells it."""
    async with world.services["gateway"].database.reading() as session:
        kept = Counter([event["id"] for event in await session.scalars(select(EVENTS.c.event))])
    for record in _once(world, "vm.events"):
        looked = record.headers["ce_type"] == Observed.wire_name()
        if kept[record.headers["ce_id"]] != (0 if looked else 1):
            times = kept[record.headers["ce_id"]]
            yield f"{record.headers['ce_type']} is told to followers {times} times"


async def _of_audit(world: World, operations: dict[str, Json]) -> AsyncIterator[str]:
    database = world.services["audit"].database
    async with database.reading() as session:
        rows = (await session.execute(select(LEDGER.c.message_id, LEDGER.c.type))).tuples().all()
    kept = Counter(str(message_id) for message_id, _ in rows)
    for topic in ("vm.commands", "vm.events", "cloud.inventory"):
        for record in _once(world, topic):
            if kept[record.headers["ce_id"]] != 1:
                times = kept[record.headers["ce_id"]]
                yield f"{record.headers['ce_type']} stands {times} times in audit"
    for each in operations:
        if not kept[each]:
            yield f"the command of operation {each} is not in audit"
    verdict = await world.audit.runs.quick(1_000_000)
    if not verdict.valid:
        yield f"audit does not verify: {verdict}"
