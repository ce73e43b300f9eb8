"""The list of 1,000 VMs, beside Nova's own `GET /servers/detail`.

HOSTLER_BENCH_CLOUD names an entry of clouds.yaml (OS_CLIENT_CONFIG_FILE) with room for 1,000 small
servers: they are made in one request and deleted afterwards. Without it the simulator is asked,
which answers from memory, so that the goal (a real Nova reads its cells' databases) says little.
"""

import asyncio
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import httpx
import openstack

from bench.bench import Bench, simulator
from bench.client import own_tenant
from bench.result import Measured, middle
from bench.seed import fill_read_model
from deploy.local.stack import Stack

SERVERS = 1000
TIMES = 7
NAME = "hostler-bench"
BUILD_SECONDS = 1800.0


async def measure(bench: Bench) -> Measured:
    """Both lists in turns, in seconds."""
    real = os.environ.get("HOSTLER_BENCH_CLOUD", "")
    row = Measured("nova", f"GET /servers/detail of {real or 'the simulator'}")
    async with bench.stack() as stack:
        cloud: Any = openstack.connect(cloud=real) if real else own_tenant(stack)
        count = bench.count(SERVERS)
        await asyncio.to_thread(fill_read_model, stack, count)
        own = {"X-API-Key": stack.api_key}
        with (
            _servers(cloud, stack, count, real=bool(real)),
            httpx.Client(base_url=stack.base_url, headers=own, timeout=60, trust_env=False) as http,
        ):
            theirs: list[float] = []
            ours: list[float] = []
            for _ in range(TIMES):
                theirs.append(await asyncio.to_thread(_timed, lambda: _detail(cloud, count)))
                ours.append(await asyncio.to_thread(_timed, lambda: _listed(http, count)))
    row.figure(f"Nova, {count} servers", middle(theirs) * 1000, "ms")
    row.figure(f"Hostler, {count} VMs", middle(ours) * 1000, "ms")
    row.at_least("times faster", middle(theirs) / middle(ours), 50)
    return row


@contextmanager
def _servers(cloud: Any, stack: Stack, count: int, *, real: bool) -> Generator[None]:
    """As many servers as are to be listed."""
    if not real:
        body = {"count": count, "name": NAME}
        url = f"{simulator(stack).url}/control/servers"
        httpx.post(url, json=body, timeout=120, trust_env=False).raise_for_status()
        yield
        return
    flavor = min(cloud.compute.flavors(), key=lambda f: (f.ram, f.disk))
    image = next(iter(cloud.image.images(status="active")))
    body = {"name": NAME, "flavorRef": flavor.id, "imageRef": image.id, "networks": "none"}
    missing = count - len(list(cloud.compute.servers(details=False)))
    if missing > 0:
        request = {"server": {**body, "min_count": missing, "max_count": missing}}
        answer = cloud.compute.post("/servers", json=request, microversion="2.79")
        if not answer.ok:
            raise RuntimeError(f"{missing} servers could not be made: {answer.text}")
    try:
        _until_built(cloud, count)
        yield
    finally:
        for server in list(cloud.compute.servers(details=False)):
            if server.name.startswith(NAME):
                cloud.compute.delete_server(server, ignore_missing=True)


def _until_built(cloud: Any, count: int) -> None:
    """Wait: while servers are on the way to a cell, Nova's own list misses some of them."""
    end = time.monotonic() + BUILD_SECONDS
    while True:
        servers = list(cloud.compute.servers(details=True))
        building = sum(server.status == "BUILD" for server in servers)
        if len(servers) >= count and not building:
            return
        if time.monotonic() > end:
            raise RuntimeError(f"{building} of {len(servers)} servers are still in BUILD")
        time.sleep(5)


def _timed(what: Callable[[], None]) -> float:
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


def _detail(cloud: Any, count: int) -> None:
    """All pages, as raw answers: no object is built of them."""
    found, params = 0, {"limit": "1000"}
    while True:
        answer = cloud.compute.get("/servers/detail", params=params, microversion="2.79")
        page = answer.json()
        found += len(page["servers"])
        if not page.get("servers_links"):
            break
        params["marker"] = page["servers"][-1]["id"]
    if found < count:
        raise RuntimeError(f"Nova lists {found} of {count} servers")


def _listed(http: httpx.Client, count: int) -> None:
    answer = http.get("/v1/vms?limit=1000")
    if len(answer.raise_for_status().json()["items"]) < min(count, 1000):
        raise RuntimeError("Hostler lists too few VMs")
