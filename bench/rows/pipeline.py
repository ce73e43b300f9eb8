"""Commands per second to their outcome, beside a bare openstacksdk loop on the same simulator."""

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from bench.bench import Bench, gateway_port
from bench.client import (
    CREATE,
    cpu_seconds,
    headers,
    other_tenant,
    own_tenant,
    sql,
    timing,
    until_ended,
)
from bench.load import Load
from bench.result import Measured, middle
from bench.spent import each, sentence
from deploy.local.stack import Stack
from drivers.openstack.servers import mark_in

VMS = 2000
BARE = 1000
THREADS = 8
ROUNDS = 2
_VMS = "SELECT vm_id FROM gateway.operations WHERE command = 'vm.create.v1'"
INSTANT = dict.fromkeys(("build", "stop", "start", "reboot", "delete"), 0.0)


async def measure(bench: Bench) -> Measured:
    """Creates and stops at full speed through everything, and POST /servers by the SDK alone."""
    row = Measured("pipeline", "a bare openstacksdk loop of POST /servers on the same simulator")
    bare: list[float] = []
    creates: list[float] = []
    async with bench.stack(HOSTLER_SWEEP_INTERVAL_SECONDS="15") as stack:
        await timing(stack, **INSTANT)
        total, spent = 0, dict[str, float]()
        for number in range(ROUNDS):
            bare.append(await asyncio.to_thread(_bare, stack, bench.count(BARE), number))
            before, done = cpu_seconds(stack), total
            rate, total = await _creates(bench, stack, bench.count(VMS), total)
            creates.append(rate)
            spent = each(before, cpu_seconds(stack), total - done)
        rate = await _stops(stack, bench.count(VMS), total)
        await _check(row, stack)
    row.figure("bare POST /servers", middle(bare), "/s")
    row.figure("creates to their outcome", middle(creates), "/s")
    for name, milliseconds in spent.items():
        row.figure(f"processor time of a create in {name}", milliseconds, "ms")
    row.figure("processor time of a create in all", sum(spent.values()), "ms")
    row.figure("stops to their outcome", rate, "/s")
    row.at_least("creates, share of the bare rate", middle(creates) / middle(bare), 0.7)
    row.at_least("creates to their outcome per second", middle(creates), 200)
    row.limit = sentence("a create", spent)
    return row


async def _creates(bench: Bench, stack: Stack, count: int, before: int) -> tuple[float, int]:
    """Creates per second, from the first request to the last outcome; all outcomes so far."""
    begun = time.perf_counter()
    seconds, accepted = 0.0, 0
    wanted = Load(
        port=gateway_port(stack),
        paths=("/v1/vms",),
        method="POST",
        connections=64,
        in_flight=64,
        headers=headers(stack),
        body=CREATE,
        seconds=1.0,
        warm_up=0.0,
    )
    while accepted < count:
        answered = await bench.load(wanted)
        accepted += answered.requests
    total = before + accepted
    await until_ended(stack, total)
    seconds = time.perf_counter() - begun
    return accepted / seconds, total


async def _stops(stack: Stack, count: int, before: int) -> float:
    """Stops per second of VMs that run, each asked once."""
    rows = await sql(stack, f"SELECT id FROM gateway.vms WHERE state = 'active' LIMIT {count}")  # noqa: S608
    ids = [str(row[0]) for row in rows]
    begun = time.perf_counter()
    await _post_each(stack, [f"/v1/vms/{vm_id}/stop" for vm_id in ids])
    await until_ended(stack, before + len(ids))
    return len(ids) / (time.perf_counter() - begun)


async def _post_each(stack: Stack, paths: list[str]) -> None:
    import httpx  # noqa: PLC0415 - only here

    limits = httpx.Limits(max_connections=32)
    own = {"X-API-Key": stack.api_key}
    async with httpx.AsyncClient(
        base_url=stack.base_url, headers=own, limits=limits, timeout=60, trust_env=False
    ) as http:
        for start in range(0, len(paths), 256):
            answers = await asyncio.gather(*(http.post(p) for p in paths[start : start + 256]))
            for answer in answers:
                answer.raise_for_status()


def _bare(stack: Stack, count: int, number: int) -> float:
    """POST /servers per second by openstacksdk in threads, without waiting for the builds."""
    cloud = other_tenant(stack)
    flavor = cloud.compute.find_flavor("m1.nano")
    image = cloud.image.find_image("tiny-raw")

    def create(i: int) -> None:
        cloud.compute.create_server(
            name=f"bare-{number}-{i}", flavor_id=flavor.id, image_id=image.id, networks="none"
        )

    with ThreadPoolExecutor(THREADS) as pool:
        begun = time.perf_counter()
        list(pool.map(create, range(count)))
        return count / (time.perf_counter() - begun)


async def _check(row: Measured, stack: Stack) -> None:
    """None lost, none twice: every operation succeeded, each VM has one server in the cloud."""
    states = Counter(
        dict(await sql(stack, "SELECT state, count(*) FROM gateway.operations GROUP BY 1"))
    )
    vms = {str(vm_id) for (vm_id,) in await sql(stack, _VMS)}
    theirs = await asyncio.to_thread(_servers_of, stack)
    row.figure("operations", states.total(), "")
    row.figure("servers with a VM's mark", theirs.total(), "")
    row.at_most("operations that did not succeed", states.total() - states["succeeded"], 0)
    row.at_most("creates without a server", len(vms - theirs.keys()), 0)
    row.at_most("servers too many", theirs.total() - len(vms & theirs.keys()), 0)


def _servers_of(stack: Stack) -> Counter[str]:
    """How many servers of each VM there are, by the id in their mark, as the cloud lists them."""
    listed = own_tenant(stack).compute.servers(details=True)
    marks = [mark_in(server.tags or []) for server in listed]
    return Counter(str(mark.vm_id) for mark in marks if mark)
