"""Cloud calls per created VM, for one and for many at once, beside openstacksdk that waits."""

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx

from bench.bench import Bench
from bench.client import CREATE, calls, forget_calls, other_tenant, timing, until_ended
from bench.result import Chart, Measured, Series
from deploy.local.stack import Stack

BUILD_SECONDS = 2.0
SIZES = (1, 10, 100, 1000)
BARE = 20
WARM_UP = 5
SWEEP = "GET /servers/detail"


async def measure(bench: Bench) -> Measured:
    """Creates of some sizes at once; every call that the cloud took meanwhile is counted."""
    row = Measured("calls", "openstacksdk: create_server, wait_for_server")
    async with bench.stack(HOSTLER_CATALOG_INTERVAL_SECONDS="3600") as stack:
        await timing(stack, build=BUILD_SECONDS)
        bare = await _bare(stack)
        per_vm: list[tuple[float, float]] = []
        sweeps: list[tuple[float, float]] = []
        _, _ = await _creates(stack, WARM_UP, WARM_UP)
        ended = WARM_UP
        for size in SIZES[:3] if bench.quick else SIZES:
            ended += size
            counted, seconds = await _creates(stack, size, ended)
            per_vm.append((size, (counted.total() - counted[SWEEP]) / size))
            sweeps.append((size, counted[SWEEP] / seconds))
            row.figure(f"calls per VM, {size} at once", counted.total() / size, "")
            row.figure(f"sweeps per second, {size} at once", counted[SWEEP] / seconds, "/s")
    row.figure("calls per VM, openstacksdk that waits", bare, "")
    # Sweeps are shared: what one VM costs is what is called for it, plus its part of the sweeps.
    row.at_most(f"calls per VM, {per_vm[-1][0]:g} at once", _last(row, "calls per VM"), 2.1)
    row.at_most("calls per VM besides sweeps, 1 at once", per_vm[0][1], 2.1)
    row.at_most(
        "sweeps per second: many at once, times one at once", sweeps[-1][1] / sweeps[0][1], 1.3
    )
    points = tuple((s, v) for s, v in per_vm)
    row.charts.append(
        Chart(
            "Calls per VM",
            "VMs created at once",
            "calls",
            (Series("besides sweeps", points),),
            logarithmic=True,
        )
    )
    return row


def _last(row: Measured, prefix: str) -> float:
    found = [f.value for f in row.figures if f.name.startswith(prefix) and "at once" in f.name]
    return found[-1]


async def _creates(stack: Stack, size: int, ended: int) -> tuple[Counter[str], float]:
    await forget_calls(stack)
    begun = time.perf_counter()
    limits = httpx.Limits(max_connections=32)
    sent = {"X-API-Key": stack.api_key, "Content-Type": "application/json"}
    async with httpx.AsyncClient(
        base_url=stack.base_url, headers=sent, limits=limits, timeout=60, trust_env=False
    ) as http:
        bodies = [CREATE.replace("{n}", f"{size}-{i}") for i in range(size)]
        for answer in await asyncio.gather(*(http.post("/v1/vms", content=b) for b in bodies)):
            answer.raise_for_status()
    await until_ended(stack, ended)
    return await calls(stack), time.perf_counter() - begun


async def _bare(stack: Stack) -> float:
    """What `create_server(wait=True)` calls per VM, by as many threads as VMs."""
    await forget_calls(stack)
    await asyncio.to_thread(_create_and_wait, stack)
    before = await calls(stack)
    mine = {
        name: n
        for name, n in before.items()
        if name.startswith(("POST /servers", "GET /servers/{"))
    }
    return sum(mine.values()) / BARE


def _create_and_wait(stack: Stack) -> None:
    cloud = other_tenant(stack)
    flavor = cloud.compute.find_flavor("m1.nano")
    image = cloud.image.find_image("tiny-raw")

    def create(i: int) -> None:
        made = cloud.compute.create_server(
            name=f"bare-{i}", flavor_id=flavor.id, image_id=image.id, networks="none"
        )
        cloud.compute.wait_for_server(made)

    with ThreadPoolExecutor(BARE) as pool:
        list(pool.map(create, range(BARE)))
