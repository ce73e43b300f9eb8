"""One VM and a page of 100 out of 100,000, beside a bare route that selects the same rows."""

from dataclasses import replace

import httpx
import psycopg

from bench.bench import Bench, database_url, gateway_port
from bench.load import Load
from bench.result import Measured, middle
from bench.rows.accept import OTHERS
from deploy.local.postgres import dsn
from deploy.local.stack import PROJECT, Stack

VMS = 100_000
DEEP = 1000
ROUNDS = 3
SECONDS = 6.0
_FILL = """
INSERT INTO gateway.vms (id, project_id, account, name, folded_name, state, flavor, image,
  server_id, addresses, metadata, tags, security_groups, operations, version, revision,
  created_at, updated_at, observed_at)
SELECT gen_random_uuid(), %(project)s, 'simulator', 'vm-' || n, 'vm-' || n,
  CASE WHEN n %% 10 = 0 THEN 'stopped' ELSE 'active' END, 'm1.small', 'image', n::text,
  '[{"network": "private", "address": "10.0.0.7", "version": 4}]', '{"a": "b"}', '["web"]',
  '["default"]', 1, 1, 1, now() - n * interval '1 second', now(), now()
FROM generate_series(1, %(count)s) AS n
"""


async def measure(bench: Bench) -> Measured:
    """Each read saturated, ours and the bare one in turns; then page 1,000 beside page 1."""
    row = Measured("reads", "a bare route that selects the same rows")
    async with bench.stack() as stack:
        for name in OTHERS:
            stack.parts[name].stop()
        url = database_url(stack)
        ids = _fill(url, bench.count(VMS))
        async with bench.bare(url) as floor:
            headers = {"X-API-Key": stack.api_key}
            for name, ours, bare in (
                ("one VM", "/v1/vms/", "/rows/"),
                ("page of 100", "/v1/vms?limit=100", "/rows?limit=100"),
            ):
                each = ids if name == "one VM" else [""]
                wanted = {
                    "bare": Load(floor.port, tuple(bare + i for i in each), SECONDS),
                    "ours": Load(
                        gateway_port(stack), tuple(ours + i for i in each), SECONDS, headers=headers
                    ),
                }
                await _compare(bench, row, name, wanted)
        await _deep(bench, row, stack)
    return row


def _fill(url: str, count: int) -> list[str]:
    """Make the VMs; some of their ids."""
    with psycopg.connect(dsn(url), autocommit=True) as connection:
        connection.execute(_FILL, {"project": PROJECT, "count": count})
        connection.execute("ANALYZE gateway.vms")
        found = connection.execute("SELECT id::text FROM gateway.vms LIMIT 1000").fetchall()
    return [text for (text,) in found]


async def _compare(bench: Bench, row: Measured, name: str, wanted: dict[str, Load]) -> None:
    rates: dict[str, list[float]] = {each: [] for each in wanted}
    for _ in range(1 if bench.quick else ROUNDS):
        for each, given in wanted.items():
            seconds = bench.seconds(SECONDS)
            answered = await bench.load(replace(given, seconds=seconds, connections=64))
            rates[each].append(answered.rate)
    for each, found in rates.items():
        row.figure(f"{name}, {each}", middle(found), "requests/s")
    ratio = middle(rates["ours"]) / middle(rates["bare"])
    row.at_least(f"{name}, of the bare route's", ratio, 0.6)


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
