"""Sweeps of 10,000 VMs, beside a bare loop over the pages of `servers/detail` of the same cloud.

What is compared lists every server, which sync does every ten minutes. What it does in between, a
list of what changed, is measured, too, and how long a change behind Hostler's back goes unseen.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import openstack
from sqlalchemy import func, select, update

from bench.bench import Bench
from bench.result import Measured, middle
from chassis.migrations import migrate
from chassis.tables import OUTBOX
from deploy.local.cloud import LocalCloud
from deploy.local.postgres import Database, open_database
from drivers.openstack.settings import OpenStackSettings
from services.sync.app import build
from services.sync.settings import SyncSettings
from services.sync.sweep import Sweeper
from services.sync.tables import Account

SERVERS = 10_000
ROUNDS = 5
DRIFTS = 5
PROJECT = "bench"
MARKS = ["hostler:vm:{uuid}", f"hostler:project:{PROJECT}"]


async def measure(bench: Bench) -> Measured:
    """All in turns, in seconds."""
    row = Measured("sweep", "a bare loop over the pages of servers/detail (requests, JSON)")
    count = bench.count(SERVERS)
    async with cloud_and_database(bench) as (cloud, database):
        await cloud.fill(count)
        async with sweeping(database, cloud.name, explain_seconds=0) as sweeper:
            await _costs(row, sweeper, cloud, count)
        async with sweeping(database, cloud.name) as sweeper:
            await _drift(row, sweeper, cloud, bench)
    return row


@asynccontextmanager
async def cloud_and_database(bench: Bench) -> AsyncGenerator[tuple["Control", Database]]:
    """All that sync needs to sweep: the simulator and Postgres, and no broker."""
    simulated = LocalCloud(bench.folder / "cloud")
    database = open_database(bench.folder / "postgres", {})
    try:
        await asyncio.to_thread(simulated.start)
        await asyncio.to_thread(database.start)
        os.environ["OS_CLIENT_CONFIG_FILE"] = str(simulated.clouds_yaml)
        async with httpx.AsyncClient(
            base_url=f"{simulated.url}/control", timeout=300, trust_env=False
        ) as http:
            yield Control(simulated.name, http), database
    finally:
        await asyncio.to_thread(simulated.stop)
        await asyncio.to_thread(database.stop)


class Control:
    """The simulator's strings, and its servers."""

    def __init__(self, name: str, http: httpx.AsyncClient) -> None:
        self.name = name
        self._http = http
        self._session = openstack.connect(cloud=name).compute
        self.ids: list[str] = []

    async def fill(self, count: int, *, network: bool = True) -> None:
        """As many VMs as are to be swept; a network has room for 65,533 of them."""
        body = {"count": count, "name": "swept", "tags": MARKS, "network": network}
        (await self._http.post("/servers", json=body)).raise_for_status()
        self.ids = await asyncio.to_thread(self.list_bare)

    async def change(self, share: float) -> None:
        """Rename some."""
        for server_id in random.sample(self.ids, max(1, int(len(self.ids) * share))):
            body = {"name": f"renamed-{random.random()}"}
            (await self._http.post(f"/servers/{server_id}/set", json=body)).raise_for_status()

    def list_bare(self) -> list[str]:
        """The ids of all servers, in pages as large as the driver's."""
        ids: list[str] = []
        params = {"limit": str(OpenStackSettings().page_size)}
        while True:
            answer = self._session.get("/servers/detail", params=params, microversion="2.79")
            body = answer.json()
            ids += [server["id"] for server in body["servers"]]
            if not body.get("servers_links"):
                return ids
            params["marker"] = ids[-1]


@asynccontextmanager
async def sweeping(database: Database, account: str, **rules: float) -> AsyncGenerator[Sweeper]:
    """Sync's sweeper in this process; it sweeps when it is told."""
    settings = SyncSettings(
        database_url=database.url,
        projects={PROJECT: account},
        **rules,  # pyright: ignore[reportArgumentType] - intervals, by name
    )
    service = build(settings)
    await migrate(service.database)
    try:
        yield service.sweepers[account]
    finally:
        await service.sweepers[account].lease.release()
        await service.database.close()


async def _costs(row: Measured, sweeper: Sweeper, cloud: Control, count: int) -> None:
    await timed(sweeper.sweep_once)
    bare: list[float] = []
    same: list[float] = []
    some: list[float] = []
    few: list[float] = []
    for _ in range(ROUNDS):
        bare.append(await timed(lambda: asyncio.to_thread(cloud.list_bare)))
        few.append(await timed(sweeper.sweep_once))
        same.append(await _full(sweeper))
        bare.append(await timed(lambda: asyncio.to_thread(cloud.list_bare)))
        await cloud.change(0.01)
        some.append(await _full(sweeper))
    row.figure(f"bare loop, {count} servers", middle(bare), "s")
    row.figure("everything listed, nothing changed", middle(same), "s")
    row.figure("everything listed, 1 % changed", middle(some), "s")
    row.figure("a sweep of changes, nothing changed", middle(few) * 1000, "ms")
    row.at_most(
        "everything listed, nothing changed: times the bare loop", middle(same) / middle(bare), 1.3
    )
    row.at_most(
        "everything listed, 1 % changed: times the bare loop", middle(some) / middle(bare), 1.3
    )


async def _drift(row: Measured, sweeper: Sweeper, cloud: Control, bench: Bench) -> None:
    """How long until a change is on its way to Kafka, as sync runs by default."""
    running = asyncio.create_task(sweeper.run())
    seen: list[float] = []
    try:
        for _ in range(2 if bench.quick else DRIFTS):
            await asyncio.sleep(random.uniform(0, sweeper.settings.sweep_interval_seconds))
            before = await _said(sweeper)
            begun = time.perf_counter()
            await cloud.change(0)
            while await _said(sweeper) == before:
                await asyncio.sleep(0.05)
            seen.append(time.perf_counter() - begun)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    row.figure("a change behind the back is said after, median", middle(seen), "s")
    row.at_most("a change behind the back is said after, longest", max(seen), 15)


async def _full(sweeper: Sweeper) -> float:
    async with sweeper.database.session() as session:
        await session.execute(update(Account).values(next_full_at=None))
    return await timed(sweeper.sweep_once)


async def _said(sweeper: Sweeper) -> int:
    async with sweeper.database.reading() as session:
        return await session.scalar(select(func.max(OUTBOX.c.id))) or 0


async def timed(what: Callable[[], Awaitable[object]]) -> float:
    """Seconds that something takes; RuntimeError if it says that it was not whole."""
    begun = time.perf_counter()
    if not await what():
        raise RuntimeError("a sweep was not complete")
    return time.perf_counter() - begun
