"""What the same thing costs with 1,000, 10,000 and 100,000 VMs: as much as changes, not as exists."""

from dataclasses import dataclass

from bench.bench import Bench, gateway_port
from bench.client import CREATE, cpu_seconds, sql
from bench.load import Load
from bench.result import Chart, Measured, Series, middle
from bench.rows.accept import OTHERS
from bench.rows.sweep import cloud_and_database, sweeping, timed
from bench.seed import fill_read_model
from bench.spent import each
from deploy.local.stack import Stack

SIZES = (1_000, 10_000, 100_000)
SECONDS = 5.0
RATE = 60.0
SWEEPS = 9
MOST = 1.5
"""What 100,000 VMs may cost, as a multiple of what 1,000 do."""
_SOME = "SELECT id FROM gateway.vms WHERE name LIKE 'vm-%' LIMIT 200"

Costs = dict[str, list[tuple[float, float]]]


async def measure(bench: Bench) -> Measured:
    """Processor time of requests, in all processes that they concern; and sweeps of changes."""
    row = Measured("scale", "the same with 1,000 VMs")
    costs = await _requests(bench) | {"a sweep of changes": await _sweeps(bench)}
    for name, points in costs.items():
        for size, milliseconds in points:
            row.figure(f"{name}, {size:g} VMs", milliseconds, "ms")
        row.at_most(f"{name}: times that with fewest VMs", points[-1][1] / points[0][1], MOST)
    row.limit = (
        "A part of a name is looked for in all names of a project: an index of trigrams needs the"
        " extension pg_trgm, which not every Postgres brings."
    )
    series = tuple(Series(name, tuple(points)) for name, points in costs.items())
    row.charts.append(Chart("Cost by VMs there are", "VMs", "ms", series, logarithmic=True))
    return row


@dataclass(frozen=True)
class _Request:
    paths: tuple[str, ...]
    method: str = "GET"
    body: str = ""


async def _requests(bench: Bench) -> Costs:
    costs: Costs = {}
    async with bench.stack() as stack:
        for name in OTHERS:
            stack.parts[name].stop()
        there = 0
        for size in map(bench.count, SIZES):
            fill_read_model(stack, size - there)
            there = size
            for name, request in (await _asked(stack)).items():
                spent = await _cost(bench, stack, request)
                costs.setdefault(name, []).append((size, spent))
    return costs


async def _asked(stack: Stack) -> dict[str, _Request]:
    ids = [row[0] for row in await sql(stack, _SOME)]
    return {
        "one VM": _Request(tuple(f"/v1/vms/{vm_id}" for vm_id in ids)),
        "page of 100": _Request(("/v1/vms?limit=100",)),
        "page of 20 by state": _Request(("/v1/vms?limit=20&state=stopped",)),
        "page of VMs by a part of the name": _Request(("/v1/vms?name=vm-77",)),
        "a create accepted": _Request(("/v1/vms",), "POST", CREATE),
    }


async def _cost(bench: Bench, stack: Stack, request: _Request) -> float:
    """Milliseconds of processor time per request, the gateway's and the database's together."""
    wanted = Load(
        gateway_port(stack),
        request.paths,
        bench.seconds(SECONDS),
        request.method,
        connections=16,
        rate=RATE,
        headers={"X-API-Key": stack.api_key},
        body=request.body,
        warm_up=0.0,
    )
    await bench.load(wanted)
    before = cpu_seconds(stack)
    answered = await bench.load(wanted)
    spent = each(before, cpu_seconds(stack), answered.requests)
    return spent["gateway"] + spent["postgres"]


async def _sweeps(bench: Bench) -> list[tuple[float, float]]:
    """Milliseconds of a sweep of what changed, where nothing did."""
    points: list[tuple[float, float]] = []
    async with cloud_and_database(bench) as (cloud, database):
        for size in map(bench.count, SIZES):
            await cloud.fill(size - len(cloud.ids), network=False)
            async with sweeping(database, cloud.name) as sweeper:
                await timed(sweeper.sweep_once)  # the first lists everything
                taken = [await timed(sweeper.sweep_once) for _ in range(SWEEPS)]
            points.append((size, middle(taken) * 1000))
    return points
