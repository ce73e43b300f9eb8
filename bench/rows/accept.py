"""POST /v1/vms → 202 of one gateway process, beside a bare route that inserts one row."""

from dataclasses import replace

from bench.bench import Bench, database_url, gateway_port
from bench.client import CREATE, cpu_seconds
from bench.load import Answered, Load
from bench.result import Chart, Measured, Series, middle
from bench.spent import each, sentence
from deploy.local.stack import Stack

ROUNDS = 3
SECONDS = 8.0
OTHERS = ("sync", "provisioner", "audit")


async def measure(bench: Bench) -> Measured:
    """Both saturated, in turns; then both at half of what the slower one can do."""
    row = Measured("accept", "a bare FastAPI route that inserts one row")
    async with bench.stack() as stack:
        for name in OTHERS:
            stack.parts[name].stop()
        async with bench.bare(database_url(stack)) as floor:
            loads = {"bare": _bare(floor.port), "ours": _ours(stack)}
            most = await _in_turns(bench, loads, None)
            rates = {name: middle([a.rate for a in found]) for name, found in most.items()}
            half = min(rates.values()) / 2
            at_rate = await _in_turns(bench, loads, half)
            used = cpu_seconds(stack)
            again = await bench.load(replace(loads["ours"], rate=half, warm_up=0.0))
            spent = each(used, cpu_seconds(stack), again.requests)
    for name, rate in rates.items():
        row.figure(f"{name}, saturated", rate, "requests/s")
    p95 = {name: middle([a.p95 for a in found]) for name, found in at_rate.items()}
    series: list[Series] = []
    for name, found in at_rate.items():
        row.figure(f"{name}, rate of the schedule", middle([a.rate for a in found]), "requests/s")
        points = (
            (50.0, row.figure(f"{name}, p50", middle([a.p50 for a in found]), "ms")),
            (95.0, row.figure(f"{name}, p95", p95[name], "ms")),
            (99.0, row.figure(f"{name}, p99", middle([a.p99 for a in found]), "ms")),
        )
        series.append(Series(name, points))
    row.charts.append(Chart("Answers at half the rate", "percentile", "ms", tuple(series)))
    row.at_least("saturated, of the bare route's", rates["ours"] / rates["bare"], 0.6)
    row.at_most("p95 at half the rate, times the bare route's", p95["ours"] / p95["bare"], 2)
    row.at_most("p95 at half the rate, in ms", p95["ours"], 50)
    row.limit = sentence("a command accepted at half the rate", spent) + (
        " A command's transaction is a handful of round trips, and the next commands wait for its"
        " end; the load and the bare route's server share the cores."
    )
    return row


async def _in_turns(
    bench: Bench, loads: dict[str, Load], rate: float | None
) -> dict[str, list[Answered]]:
    found: dict[str, list[Answered]] = {name: [] for name in loads}
    for _ in range(1 if bench.quick else ROUNDS):
        for name, wanted in loads.items():
            seconds = bench.seconds(SECONDS)
            found[name].append(await bench.load(replace(wanted, seconds=seconds, rate=rate)))
    return found


def _bare(port: int) -> Load:
    return Load(port, ("/rows",), SECONDS, "POST", body=CREATE)


def _ours(stack: Stack) -> Load:
    headers = {"X-API-Key": stack.api_key, "Idempotency-Key": "{n}"}
    return Load(gateway_port(stack), ("/v1/vms",), SECONDS, "POST", headers=headers, body=CREATE)
