"""What a row gets: a stack of its own, the bare server, loads, and how much to do."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx

from bench.load import Answered, Load, load
from deploy.local.cloud import LocalCloud
from deploy.local.processes import Child, free_port
from deploy.local.stack import ROOT, Stack

QUICK_SHARE = 0.1


class Floor:
    """A running bare server."""

    def __init__(self, port: int, child: Child) -> None:
        self.port = port
        self.child = child


class Bench:
    """Handed to each row. `quick`: smaller numbers, to try a row, not to quote.

    `minutes`: how long memory is watched under load.
    """

    def __init__(
        self, folder: Path | None = None, *, quick: bool = False, minutes: float = 2
    ) -> None:
        self.folder = folder or Path(mkdtemp(prefix="hostler-bench-"))
        self.quick = quick
        self.minutes = minutes
        self._stacks = 0

    def count(self, full: int) -> int:
        """How many of something: all of it, or a tenth when it has to be quick."""
        return max(10, int(full * QUICK_SHARE)) if self.quick else full

    def seconds(self, full: float) -> float:
        """How long to load for."""
        return min(full, 4.0) if self.quick else full

    @asynccontextmanager
    async def stack(self, **settings: str) -> AsyncGenerator[Stack]:
        """Everything, on data of its own; `settings` are HOSTLER_* variables for all services.

        A row stops what it does not measure: `stack.parts["sync"].stop()`.
        """
        self._stacks += 1
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "HOSTLER_"))}
        kept = {k: v for k, v in os.environ.items() if k == "HOSTLER_LOCAL_BROKER"}
        environment = inherited | kept | {"HOSTLER_LOG_LEVEL": "WARNING"} | settings
        stack = Stack(
            self.folder / f"stack-{self._stacks}", environment=environment, say=lambda _line: None
        )
        await asyncio.to_thread(stack.start)
        try:
            await self._until_catalog(stack)
            yield stack
        finally:
            await asyncio.to_thread(stack.stop)

    @asynccontextmanager
    async def bare(self, database_url: str) -> AsyncGenerator[Floor]:
        """The bare server (bench/bare.py) over a database."""
        port = free_port()
        settings = json.dumps({"database_url": database_url, "port": port})
        child = Child(
            "bare",
            [sys.executable, "-m", "bench.bare", settings],
            log=self.folder / "bare.log",
            folder=ROOT,
        )
        child.start()
        try:
            await asyncio.to_thread(child.wait_until, lambda: _answers(port), 30)
            yield Floor(port, child)
        finally:
            child.stop()

    @staticmethod
    async def load(wanted: Load) -> Answered:
        """Load a server from a process of its own; RuntimeError if too many answers were bad."""
        answered = await load(wanted)
        if answered.failed > max(5, answered.requests // 100):
            raise RuntimeError(f"{wanted.method} {wanted.paths[0]}: {answered.statuses}")
        return answered

    @staticmethod
    async def _until_catalog(stack: Stack) -> None:
        headers = {"X-API-Key": stack.api_key}
        async with httpx.AsyncClient(
            base_url=stack.base_url, headers=headers, trust_env=False
        ) as http:
            async with asyncio.timeout(60):
                while not (await http.get("/v1/images")).json().get("items"):
                    await asyncio.sleep(0.2)


def database_url(stack: Stack) -> str:
    """The server that a stack's services share."""
    part: Any = stack.parts["postgres"]
    return str(part.url)


def simulator(stack: Stack) -> LocalCloud:
    """The stack's cloud."""
    cloud = stack.cloud
    if not isinstance(cloud, LocalCloud):
        raise TypeError("benchmarks run on the simulator")
    return cloud


def gateway_port(stack: Stack) -> int:
    """Where the stack's gateway listens."""
    return int(stack.base_url.rpartition(":")[2])


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False
