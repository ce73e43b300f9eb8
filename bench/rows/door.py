"""What it costs to know who asks: one route of the gateway, open and behind its guard, in turns.

Within one process, so that no socket and no other process is in the figures: ASGI in, ASGI out, on
PostgreSQL. Behind the guard stand the credential's check, the permission and the count of rates.
Requests come one by one at a low fixed rate, each kind in its turn, so that all meet the same
machine; the processor's time tells the same on a machine that is busy otherwise. A credential is
believed for five seconds, as in production: the misses are in the p99. A signed request has a nonce
of its own, which is an insert.
"""

import asyncio
import base64
import gc
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import Depends
from pydantic import SecretStr

from bench.bench import Bench
from bench.result import Measured, percentile
from chassis.identity import Caller
from chassis.migrations import migrate
from contracts.identity import Role
from deploy.local.postgres import open_database
from hostler_client.signing import Signing
from services.gateway.app import build
from services.gateway.context import Gateway
from services.gateway.identity.permission import permit
from services.gateway.identity.users import NewUser, add, change
from services.gateway.locks import exclusively
from services.gateway.routes.guard import guarded, unguarded
from services.gateway.settings import GatewaySettings

RATE = 100.0
REQUESTS = 6000
WARM_UP = 0.1
KEY = "hk_bench000_" + "b" * 43
PASSWORD, EMAIL = "kettle-otter-sunday-19", "bench@example.org"
BASE = "http://gateway"
Headers = Mapping[str, str]
Asks = Callable[[], tuple[str, Headers]]


@dataclass
class Taken:
    """What one kind of request took: milliseconds on the wall, microseconds of the processor."""

    wall: list[float] = field(default_factory=list[float])
    processor: list[float] = field(default_factory=list[float])


async def measure(bench: Bench) -> Measured:
    """The same route, open, by API key, by access token, and signed."""
    row = Measured("door", "the same route without its guard")
    database = open_database(bench.folder / "postgres", {}, bench.folder / "postgres.log")
    await asyncio.to_thread(database.start)
    try:
        async with _gateway(database.url) as gateway:
            taken = await _in_turns(gateway, await _kinds(gateway), bench.count(REQUESTS))
    finally:
        await asyncio.to_thread(database.stop)
    for name, each in taken.items():
        for share in (0.5, 0.95, 0.99):
            row.figure(f"{name}, p{share * 100:.0f}", percentile(each.wall, share), "ms")
        row.figure(f"{name}, processor, p50", percentile(each.processor, 0.5), "us")
    for name, what in (("token", "an access token"), ("key", "an API key"), ("signed", "")):
        added = percentile(taken[name].wall, 0.95) - percentile(taken["open"].wall, 0.95)
        row.figure(f"{name}, adds to the p95", added, "ms")
        median = percentile(taken[name].processor, 0.5) - percentile(taken["open"].processor, 0.5)
        row.figure(f"{name}, adds to the processor's p50", median, "us")
        if what:
            row.at_most(f"{what} adds to the p95, in ms", added, 1)
    return row


@asynccontextmanager
async def _gateway(database_url: str) -> AsyncGenerator[Gateway]:
    """A gateway with one route twice: open, and behind a guard and a permission."""
    unlimited = {name: {"caller": "", "address": ""} for name in ("read", "write", "sensitive")}
    settings = GatewaySettings.model_validate(
        {
            "database_url": database_url,
            "internal_secret": SecretStr("s" * 32),
            "first_api_key": SecretStr(KEY),
            "password_memory": 19456,
            "rate_limits": unlimited,
        }
    )
    gateway = build(settings, show=lambda _line: None)
    shut, opened = guarded("/probe", "probe"), unguarded("/open", "probe")
    shut.add_api_route("", _shut)
    opened.add_api_route("", _opened)
    for router in (shut, opened):
        gateway.app.include_router(router)
    try:
        await migrate(gateway.database)
        await gateway.first_keys.ensure(exclusively)
        yield gateway
    finally:
        await gateway.database.close()


async def _shut(_caller: Annotated[Caller, Depends(permit(Role.VIEWER, "vm.read"))]) -> Any:
    return {"status": "ok"}


async def _opened() -> Any:
    return {"status": "ok"}


async def _kinds(gateway: Gateway) -> dict[str, Asks]:
    """How each kind asks."""
    token = {"Authorization": f"Bearer {await _token(gateway)}"}
    signing = await _signing(gateway)

    def signed() -> tuple[str, Headers]:
        request = httpx.Request("GET", f"{BASE}/v1/probe", headers={"X-API-Key": KEY})
        signing.sign(request)
        return "/v1/probe", dict(request.headers)

    return {
        "open": lambda: ("/v1/open", {}),
        "key": lambda: ("/v1/probe", {"X-API-Key": KEY}),
        "token": lambda: ("/v1/probe", token),
        "signed": signed,
    }


async def _token(gateway: Gateway) -> str:
    new = NewUser(EMAIL, "", "bench", is_admin=False, memberships={"demo": Role.VIEWER})
    async with gateway.database.session() as session:
        user_id = await add(session, new, gateway.clock())
        assert user_id is not None  # noqa: S101 - the database is empty
        hashed = await gateway.identity.passwords.hash(PASSWORD)
        known = {"state": "active", "password": hashed}
        await change(session, user_id, gateway.clock(), retoken=False, **known)
    said = await _post(gateway, "/v1/auth/login", {"email": EMAIL, "password": PASSWORD}, {})
    return str(said["access_token"])


async def _signing(gateway: Gateway) -> Signing:
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    body = {"name": "bench", "algorithm": "ed25519", "public_key": public}
    made = await _post(gateway, "/v1/signing-keys", body, {"X-API-Key": KEY})
    return Signing(str(made["id"]), key)


async def _post(gateway: Gateway, path: str, body: object, headers: Headers) -> dict[str, Any]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(gateway.app), base_url=BASE, headers=headers
    ) as client:
        answer = await client.post(
            path, content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
    return dict(answer.raise_for_status().json())


async def _in_turns(gateway: Gateway, kinds: dict[str, Asks], count: int) -> dict[str, Taken]:
    """Ask `count` times by the schedule, the kinds in turn; the first tenth is not counted."""
    taken = {name: Taken() for name in kinds}
    names = list(kinds)
    gc.collect()
    begun = time.perf_counter()
    for number in range(count):
        await asyncio.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
        name = names[number % len(names)]
        path, headers = kinds[name]()
        wall, processor = await _ask(gateway, path, headers)
        if number >= count * WARM_UP:
            taken[name].wall.append(wall)
            taken[name].processor.append(processor)
    return taken


async def _ask(gateway: Gateway, path: str, headers: Headers) -> tuple[float, float]:
    """Milliseconds and microseconds of one request; RuntimeError if it is not answered with 200."""
    statuses: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = _scope(path, headers)
    wall, processor = time.perf_counter(), time.process_time()
    await gateway.app(scope, receive, send)
    spent = (time.perf_counter() - wall) * 1e3, (time.process_time() - processor) * 1e6
    if statuses != [200]:
        raise RuntimeError(f"{path} was answered with {statuses}")
    return spent


def _scope(path: str, headers: Headers) -> dict[str, Any]:
    said = {"host": "gateway", **{name.lower(): value for name, value in headers.items()}}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in said.items()],
        "client": ("127.0.0.1", 5000),
        "server": ("gateway", 80),
    }
