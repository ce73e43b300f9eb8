"""Memory of each service: idle, after 100,000 VMs, and under load, beside a bare process.

The VMs are in the gateway's read model, and as many servers are in the cloud: sync lists and knows
them, and tells them to the gateway and to audit.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bench.bench import Bench, gateway_port, simulator
from bench.client import CREATE, headers, sql, timing, until_ended
from bench.load import Load
from bench.result import Chart, Measured, Series
from bench.seed import fill_read_model
from deploy.local.processes import Child
from deploy.local.stack import ROOT, SERVICES, ServiceProcess, Stack

VMS = 100_000
ROUNDS = 6
RATE = 5.0
KNOWN_SECONDS = 1800.0
"""How long it may take until all servers of the cloud are known, at most."""
LIBRARIES = ("openstack", "opentelemetry.sdk.trace", "psycopg", "sqlalchemy.ext.asyncio")
"""What services of this kind hold besides: a second floor, to see what the first one leaves out."""
_ENDED = "SELECT count(*) FROM gateway.operations WHERE ended_at IS NOT NULL"
_KNOWN = "SELECT count(*) FROM gateway.unmanaged"
_MADE = "SELECT id FROM gateway.vms WHERE name LIKE 'b-%' AND state = 'active'"


async def measure(bench: Bench) -> Measured:
    """What is a process's own (PSS), in MiB."""
    row = Measured(
        "memory", "a process with FastStream connected to Kafka and FastAPI, and no more"
    )
    async with (
        bench.stack() as stack,
        _bare(bench, stack) as bare,
        _bare(bench, stack, *LIBRARIES) as laden,
    ):
        await timing(stack, build=0.1)
        await asyncio.sleep(5)
        floor = row.figure("bare process", _pss(bare), "MiB")
        with_libraries = row.figure("the same with libraries imported", _pss(laden), "MiB")
        count = bench.count(VMS)
        for when in ("idle", f"after {count} VMs and pages of them"):
            if when != "idle":
                await _fill(stack, count)
                await _read(bench, stack)
            sizes = _all(stack)
            for name, size in sizes.items():
                row.figure(f"{name}, {when}", size, "MiB")
            row.at_most(
                f"the largest service, {when}: times the bare process",
                max(sizes.values()) / floor,
                2,
            )
        await _under_load(bench, stack, row)
    row.limit = (
        f"Of what a service holds, {with_libraries - floor:.0f} MiB are libraries that the bare "
        f"process lacks: {', '.join(each.partition('.')[0] for each in LIBRARIES)}."
    )
    return row


async def _fill(stack: Stack, count: int) -> None:
    """VMs in the read model; in the cloud as many servers, and sync has told all of them."""
    await asyncio.to_thread(fill_read_model, stack, count)
    body = {"count": count, "network": False}
    async with httpx.AsyncClient(timeout=600, trust_env=False) as http:
        answer = await http.post(f"{simulator(stack).url}/control/servers", json=body)
        answer.raise_for_status()
    async with asyncio.timeout(KNOWN_SECONDS):
        while (await sql(stack, _KNOWN))[0][0] < count:
            await asyncio.sleep(2)


async def _read(bench: Bench, stack: Stack) -> None:
    await bench.load(
        Load(
            port=gateway_port(stack),
            paths=("/v1/vms?limit=100", "/v1/vms?limit=1000"),
            connections=8,
            in_flight=8,
            seconds=bench.seconds(10),
            headers={"X-API-Key": stack.api_key},
        )
    )


async def _under_load(bench: Bench, stack: Stack, row: Measured) -> None:
    """VMs come and go at a steady rate; what each service holds after each round, the first apart.

    As many are there after a round as before it: what grows is kept for nothing.
    """
    seconds = bench.seconds(bench.minutes * 60) / ROUNDS
    sizes: dict[str, list[tuple[float, float]]] = {name: [] for name in SERVICES}
    for number in range(ROUNDS):
        await _send(bench, stack, seconds / 2, "POST", ("/v1/vms",), body=CREATE)
        made = await sql(stack, _MADE)
        paths = tuple(f"/v1/vms/{vm_id}" for (vm_id,) in made)
        await _send(bench, stack, len(paths) / RATE, "DELETE", paths)
        for name, size in _all(stack).items():
            sizes[name].append(((number + 1) * seconds, size))
    for name, points in sizes.items():
        grown, ((begin, _), *_) = points[-1][1] - points[0][1], points
        row.figure(f"{name}, growth from {begin:g} s to {points[-1][0]:g} s of load", grown, "MiB")
    series = tuple(Series(name, tuple(points)) for name, points in sizes.items())
    row.charts.append(Chart("Memory under load", "seconds", "MiB (PSS)", series))
    growth = [points[-1][1] - points[0][1] for points in sizes.values()]
    minutes = f"{seconds * ROUNDS / 60:g} minutes"
    row.at_most(f"the largest growth in {minutes} of load, in MiB", max(growth), 10)


async def _send(
    bench: Bench,
    stack: Stack,
    seconds: float,
    method: str,
    paths: tuple[str, ...],
    *,
    body: str = "",
) -> None:
    """Commands at the steady rate, until all of them have ended."""
    [(before,)] = await sql(stack, _ENDED)
    answered = await bench.load(
        Load(
            port=gateway_port(stack),
            paths=paths,
            method=method,
            connections=32,
            rate=RATE,
            seconds=seconds,
            warm_up=0,
            headers=headers(stack),
            body=body,
        )
    )
    await until_ended(stack, before + answered.requests - answered.failed)


def _all(stack: Stack) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in SERVICES:
        part = stack.parts[name]
        if isinstance(part, ServiceProcess):
            found[name] = _pss(part.child)
    return found


def _pss(child: Child) -> float:
    """Proportional set size in MiB: shared pages count by their share."""
    lines = Path(f"/proc/{child.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


@asynccontextmanager
async def _bare(bench: Bench, stack: Stack, *libraries: str) -> AsyncGenerator[Child]:
    child = Child(
        "idle",
        [sys.executable, "-m", "bench.idle", stack.kafka, *libraries],
        log=bench.folder / f"idle-{len(libraries)}.log",
        folder=ROOT,
    )
    child.start()
    try:
        await asyncio.sleep(5)
        yield child
    finally:
        child.stop()
