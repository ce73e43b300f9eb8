"""Hostler as the rows use it: commands over HTTP, outcomes by the database, the cloud's counters."""

import asyncio
import os
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openstack
import psycopg

from bench.bench import database_url, simulator
from deploy.local.postgres import dsn
from deploy.local.stack import Stack

CREATE = '{"name":"b-{n}","flavor":"m1.nano","image":"tiny-raw","networks":[]}'
"""A create without a network, as a load's body."""


def headers(stack: Stack) -> dict[str, str]:
    """What each command of a load carries: a key, and an intent of its own."""
    return {"X-API-Key": stack.api_key, "Idempotency-Key": "{n}"}


async def timing(stack: Stack, **seconds: float) -> None:
    """How long the simulated cloud takes for what it is asked."""
    await _control(stack, "POST", "/timing", seconds)


async def forget_calls(stack: Stack) -> None:
    """Count the cloud's calls from zero."""
    await _control(stack, "DELETE", "/calls")


async def calls(stack: Stack) -> Counter[str]:
    """The calls that the cloud took since, by `METHOD template`; logins left out."""
    told = await _control(stack, "GET", "/calls?limit=0")
    return Counter(
        {
            f"{r['method']} {r['path'].removeprefix('/v2.1')}": int(r["count"])
            for r in told["by_route"]
            if r["service"] != "identity"
        }
    )


async def arrivals(stack: Stack, template: str) -> dict[str, float]:
    """When (seconds since the epoch) each POST to `template` arrived, by the caller's request id."""
    told = await _control(stack, "GET", "/calls?service=compute&method=POST&limit=100000")
    return {
        c["global_request_id"]: c["at"] - c["seconds"]
        for c in told["calls"]
        if c["template"].endswith(template) and c["global_request_id"]
    }


async def until_ended(stack: Stack, count: int, seconds: float = 300) -> Counter[str]:
    """Wait until `count` operations have ended; how many in which state. TimeoutError if not."""
    end = time.monotonic() + seconds
    query = "SELECT state, count(*) FROM gateway.operations WHERE ended_at IS NOT NULL GROUP BY 1"
    while True:
        found = Counter(dict(await sql(stack, query)))
        if found.total() >= count:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"of {count} operations only these ended: {dict(found)}")
        await asyncio.sleep(0.25)


def own_tenant(stack: Stack) -> Any:
    """An openstacksdk connection to the project whose VMs are Hostler's."""
    return _tenant(stack, simulator(stack).name)


def other_tenant(stack: Stack) -> Any:
    """An openstacksdk connection to a project that Hostler does not sweep, with a large quota."""
    return _tenant(stack, f"{simulator(stack).name}-admin")


def _tenant(stack: Stack, name: str) -> Any:
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(simulator(stack).clouds_yaml)
    return openstack.connect(cloud=name)


async def sql(stack: Stack, query: str) -> list[Any]:
    """Ask the stack's database; what a row counts, it counts here, not through what it measures."""

    def ask() -> list[Any]:
        with psycopg.connect(dsn(database_url(stack)), autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    return await asyncio.to_thread(ask)


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """The processor time that each process of the stack, with its children, has used so far."""
    return {name: _used(pid) for name, pid in _pids(stack).items()}


def _pids(stack: Stack) -> dict[str, int]:
    """By name; the broker's and the database's are the parents of what works for them."""
    found: dict[str, int] = {}
    for name, part in stack.parts.items():
        child: Any = getattr(part, "child", None) or getattr(part, "_child", None)
        if child is not None and child.pid:
            found[name] = int(child.pid)
    return found


def _used(pid: int) -> float:
    """User and system time of a process, its living and its ended children, in seconds."""
    ticks = 0
    for each in (pid, *_children(pid)):
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


async def _control(stack: Stack, method: str, path: str, body: object = None) -> Any:
    async with httpx.AsyncClient(
        base_url=f"{simulator(stack).url}/control", timeout=60, trust_env=False
    ) as http:
        answer = (await http.request(method, path, json=body)).raise_for_status()
        return answer.json() if answer.content else None
