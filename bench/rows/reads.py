"""One VM and a page of 100 out of 100,000, beside a bare route that selects the same rows."""

from dataclasses import replace

import httpx

from bench.bench import Bench, database_url, gateway_port
from bench.client import cpu_seconds, sql
from bench.load import Load
from bench.result import Measured, middle
from bench.rows.accept import OTHERS
from bench.seed import fill_read_model
from bench.spent import each, sentence
from deploy.local.stack import Stack

VMS = 100_000
DEEP = 1000
ROUNDS = 3
SECONDS = 6.0


async def measure(bench: Bench) -> Measured:
    """Each read saturated, ours and the bare one in turns; then page 1,000 beside page 1."""
    row = Measured("reads", "a bare route that selects the same rows")
    limits: list[str] = []
    async with bench.stack() as stack:
        for name in OTHERS:
            stack.parts[name].stop()
        url = database_url(stack)
        fill_read_model(stack, bench.count(VMS))
        ids = [str(row[0]) for row in await sql(stack, "SELECT id FROM gateway.vms LIMIT 1000")]
        async with bench.bare(url) as floor:
            headers = {"X-API-Key": stack.api_key}
            for name, ours, bare in (
                ("one VM", "/v1/vms/", "/rows/"),
                ("page of 100", "/v1/vms?limit=100", "/rows?limit=100"),
            ):
                some = ids if name == "one VM" else [""]
                wanted = {
                    "bare": Load(floor.port, tuple(bare + i for i in some), SECONDS),
                    "ours": Load(
                        gateway_port(stack), tuple(ours + i for i in some), SECONDS, headers=headers
                    ),
                }
                spent = await _compare(bench, row, name, wanted, stack)
                limits.append(sentence(name, spent))
        await _deep(bench, row, stack)
    row.limit = " ".join(limits) + (
        " Postgres does the same for both; beside the bare route's work are the door (credentials,"
        " rates, the request's id and span), the project's session, and the rules of representation."
    )
    return row


async def _compare(
    bench: Bench, row: Measured, name: str, wanted: dict[str, Load], stack: Stack
) -> dict[str, float]:
    """Both in turns; the processor time that each of ours takes."""
    rates: dict[str, list[float]] = {each: [] for each in wanted}
    spent: dict[str, float] = {}
    for _ in range(1 if bench.quick else ROUNDS):
        for who, given in wanted.items():
            load = replace(given, seconds=bench.seconds(SECONDS), connections=64, warm_up=0.0)
            used = cpu_seconds(stack)
            answered = await bench.load(load)
            rates[who].append(answered.rate)
            if who == "ours":
                spent = each(used, cpu_seconds(stack), answered.requests)
    for who, found in rates.items():
        row.figure(f"{name}, {who}", middle(found), "requests/s")
    ratio = middle(rates["ours"]) / middle(rates["bare"])
    row.at_least(f"{name}, of the bare route's", ratio, 0.6)
    return spent


async def _deep(bench: Bench, row: Measured, stack: Stack) -> None:
    """Page 1,000 as fast as page 1: bare of filters, and with one by state."""
    depth = bench.count(DEEP) - 1
    for name, path in (
        ("no filter", "/v1/vms?limit=100"),
        ("state=active", "/v1/vms?limit=90&state=active"),
    ):
        there = await _walk(stack, path, depth)
        headers = {"X-API-Key": stack.api_key}
        p50: dict[str, list[float]] = {"page 1": [], "deep page": []}
        for _ in range(1 if bench.quick else ROUNDS):
            for page, url in (("page 1", path), ("deep page", there)):
                seconds = bench.seconds(4.0)
                one = Load(
                    gateway_port(stack),
                    (url,),
                    seconds,
                    headers=headers,
                    connections=4,
                    in_flight=1,
                )
                p50[page].append((await bench.load(one)).p50)
        for page, found in p50.items():
            row.figure(f"{page}, {name}, p50", middle(found), "ms")
        ratio = middle(p50["deep page"]) / middle(p50["page 1"])
        row.at_most(f"page {depth + 1}, {name}, times page 1", ratio, 1.3)


async def _walk(stack: Stack, path: str, pages: int) -> str:
    """The address of the page that comes behind so many."""
    headers = {"X-API-Key": stack.api_key}
    async with httpx.AsyncClient(base_url=stack.base_url, headers=headers, trust_env=False) as http:
        for _ in range(pages):
            following = (await http.get(path)).raise_for_status().json()["links"]["next"]
            if following is None:
                break
            path = following
    return path
