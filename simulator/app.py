"""The one door of the simulated cloud: every request is met by the ordered faults, answered, recorded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Receive, Scope, Send

from simulator.answers import UNAUTHORIZED, error_reply, missing_route
from simulator.api import ApiError, Call, Reply, Service
from simulator.compute.versions import asked_for, minor_of
from simulator.control import control_app
from simulator.faults import ApiCall, Fault
from simulator.ids import new_id
from simulator.routing import Match, Router
from simulator.world import World

LARGEST_BODY = 114_688  # bytes; oslo.middleware's limit
_ROOT = b'{"simulator": "OpenStack", "identity": "/identity/v3", "control": "/control"}'


@runtime_checkable
class Connection(Protocol):
    """What a dropped connection is cut by."""

    def abort(self) -> None:
        """Close at once, without a word."""
        ...


class ConnectionDropped(Exception):
    """The connection is to be cut and there is none (the app is called without a server)."""


@dataclass(slots=True)
class _Exchange:
    """One request while it is answered."""

    match: Match
    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    root_url: str
    request_id: str
    began: float


def build(world: World) -> ASGIApp:
    """The application that serves this world."""
    return _App(world)


class _App:
    def __init__(self, world: World) -> None:
        self._world = world
        self._router = Router()
        self._control = control_app(world)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["path"].startswith("/control"):
            self._world.advance()
            await self._control({**scope, "root_path": "/control"}, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = await _body(receive)
        match = self._router.find(scope["method"], scope["path"])
        if match is None:
            missing = scope["path"].strip("/") != ""
            await _send(send, Reply(404 if missing else 200, _ROOT), scope["method"])
            return
        exchange = _exchange(scope, match)
        service = match.service
        faults = self._world.faults.meeting(service, exchange.method, exchange.path)
        reply = await self._reply(exchange, raw, faults)
        self._note(exchange, reply)
        if reply is None:
            await _drop(scope, receive)
        else:
            await _send(send, _dressed(exchange, reply), exchange.method)

    async def _reply(
        self, exchange: _Exchange, raw: bytes, faults: Sequence[Fault]
    ) -> Reply | None:
        """The answer; None where the connection is to be cut."""
        for fault in (f for f in faults if f.when == "before"):
            if fault.kind != "latency":
                return _faulty(exchange, fault)
            await asyncio.sleep(fault.seconds)
        reply = self._answer(exchange, raw)
        for fault in (f for f in faults if f.when == "after"):
            if fault.kind != "latency":
                return _faulty(exchange, fault)
            await asyncio.sleep(fault.seconds)
        return reply

    def _answer(self, exchange: _Exchange, raw: bytes) -> Reply:
        try:
            return self._handled(exchange, raw)
        except ApiError as error:
            return error_reply(exchange.match.service, error, exchange.root_url)

    def _handled(self, exchange: _Exchange, raw: bytes) -> Reply:
        match, now = exchange.match, self._world.advance()
        if len(raw) > LARGEST_BODY:
            raise ApiError(413, "Request is too large.")
        call = Call(
            world=self._world,
            root_url=exchange.root_url,
            base_url=f"{exchange.root_url}/{match.service}",
            method=exchange.method,
            params=match.params or {},
            query=exchange.query,
            headers=exchange.headers,
            raw=raw,
            request_id=exchange.request_id,
            now=now,
        )
        if match.endpoint is None or not match.endpoint.open:
            call.token = self._world.identity.valid(exchange.headers.get("x-auth-token", ""), now)
            if call.token is None:
                raise ApiError(401, UNAUTHORIZED)
        if match.service == "compute" and not (match.endpoint and match.endpoint.open):
            call.version = minor_of(asked_for(exchange.headers))
        if match.endpoint is None:
            return missing_route(match.service)
        return match.endpoint.handler(call)

    def _note(self, exchange: _Exchange, reply: Reply | None) -> None:
        self._world.calls.note(
            ApiCall(
                at=self._world.clock.now(),
                service=exchange.match.service,
                method=exchange.method,
                path=exchange.path,
                template=exchange.match.template,
                global_id=exchange.headers.get("x-openstack-request-id"),
                request_id=exchange.request_id,
                status=0 if reply is None else reply.status,
                seconds=time.perf_counter() - exchange.began,
            )
        )


def _exchange(scope: Scope, match: Match) -> _Exchange:
    headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
    host = headers.get("host", "localhost")
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return _Exchange(
        match=match,
        method=scope["method"],
        path=scope["path"],
        query=query,
        headers=headers,
        root_url=f"{scope['scheme']}://{host}",
        request_id=f"req-{new_id()}",
        began=time.perf_counter(),
    )


def _faulty(exchange: _Exchange, fault: Fault) -> Reply | None:
    if fault.kind == "drop":
        return None
    words = "The server is currently unavailable. Please try again at a later time."
    reply = error_reply(exchange.match.service, ApiError(fault.status, words), exchange.root_url)
    if fault.body is not None:
        reply = replace(reply, body=fault.body.encode())
    if fault.retry_after is not None:
        reply = replace(reply, headers={**reply.headers, "Retry-After": str(fault.retry_after)})
    return reply


def _dressed(exchange: _Exchange, reply: Reply) -> Reply:
    """With the headers that every answer of the service carries."""
    headers = {"x-openstack-request-id": exchange.request_id, **reply.headers}
    service: Service = exchange.match.service
    if service in {"compute", "volume"}:
        headers["x-compute-request-id"] = exchange.request_id
    if service == "compute" and (
        exchange.match.endpoint is None or not exchange.match.endpoint.open
    ):
        version = asked_for(exchange.headers)
        version = "2.103" if version == "latest" else version
        headers["OpenStack-API-Version"] = f"compute {version}"
        headers["X-OpenStack-Nova-API-Version"] = version
        headers["Vary"] = "OpenStack-API-Version, X-OpenStack-Nova-API-Version"
    if service == "volume":
        headers |= {"OpenStack-API-Version": "volume 3.0", "Vary": "OpenStack-API-Version"}
    return replace(reply, headers=headers)


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        size += len(message.get("body", b""))
        if size <= LARGEST_BODY * 2:
            parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _send(send: Send, reply: Reply, method: str) -> None:
    body = reply.encoded()
    headers = [
        (name.encode(), value.encode("latin-1", "replace")) for name, value in reply.headers.items()
    ]
    if body or reply.status not in {204, 304}:
        headers.append((b"content-type", reply.content_type.encode()))
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


async def _drop(scope: Scope, receive: Receive) -> None:
    connection = scope.get("state", {}).get("connection")
    if not isinstance(connection, Connection):
        raise ConnectionDropped
    connection.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
