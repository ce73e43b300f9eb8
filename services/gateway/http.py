"""The door: what every request goes through before routes and every answer after them."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, lru_cache
from typing import cast

from fastapi import Request, Response
from fastapi.routing import APIRoute
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid4

from chassis import problems
from chassis.database import act_again, act_as_service
from chassis.errors import HostlerError, Terminal
from chassis.origin import within
from chassis.telemetry import bound
from contracts.errors import ErrorCode
from services.gateway.identity.addresses import Addresses, counted_as
from services.gateway.limits.classes import RouteClass, Subject, class_of
from services.gateway.limits.limiter import Limiter, RateLimited, Told, told_of
from services.gateway.settings import GatewaySettings
from services.gateway.witness import Visit, Witness

LOG = logging.getLogger(__name__)
REQUEST_ID = "X-Openstack-Request-Id"
_REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_NOT_ALLOWED = 405
_TIMED_OUT = 408
_REFUSED = 400
REQUESTS = Counter("hostler_http_requests", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram("hostler_http_request_seconds", "Time to the answer.", ["method", "route"])
_REQUEST_ID_RAW = REQUEST_ID.lower().encode()
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_FOR_DATA = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
]
_LONGEST_TARGET = 8192
_TRICKS = re.compile(rb"//|/\.\.?(?:/|$)|%2[ef]|%5c|\\", re.IGNORECASE)
"""Paths that a proxy and the gateway might take for different ones."""
_ONCE = {
    b"host",
    b"authorization",
    b"x-api-key",
    b"x-auth-token",
    b"x-project-id",
    b"x-override-reason",
    b"content-type",
    b"idempotency-key",
}
"""Fields of which two readers would take different ones, were there two."""
CORS_SENT = (
    "Authorization",
    "Content-Digest",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "Signature",
    "Signature-Input",
    "X-API-Key",
    "X-Auth-Token",
    "X-Override-Reason",
    "X-Project-Id",
    REQUEST_ID,
)
CORS_SHOWN = (
    "Accept-Signature",
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    REQUEST_ID,
)


class Door:
    """ASGI middleware: who comes from where and how often, limits of size and time, headers, metrics.

    Also request ids, HEAD, OPTIONS and CORS. FastAPI's own body limit answers in plain text and past the middleware; hence this one.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Sequence[APIRoute],
        settings: GatewaySettings,
        limiter: Limiter,
        addresses: Addresses,
        witness: Witness,
    ) -> None:
        self.app = app
        self.routes = routes
        self.settings = settings
        self.limiter = limiter
        self.addresses = addresses
        self.witness = witness
        self._within = self._crossed(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; whatever goes wrong, it is answered as a problem."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        passage = Passage(self._placed(scope), send, self._allowed, self.settings.hsts_seconds)
        passage.answers = self.witness.answered
        # Until the caller is known the request is nobody's; afterwards it is nobody's again.
        before = act_as_service()
        with bound(request_id=passage.request_id), within(passage.visit):
            try:
                await self._within(passage.scope, receive, passage.send)
            except Exception:
                if passage.status:
                    raise
                LOG.exception("unhandled")
                answer = problems.problem(Request(passage.scope), ErrorCode.INTERNAL)
                await answer(passage.scope, receive, passage.send)
            finally:
                act_again(before)
                passage.end()

    def _placed(self, scope: Scope) -> Scope:
        """The scope with the caller's address and scheme, where a proxy may tell them."""
        address, scheme = self.addresses.resolve(scope)
        port = scope["client"][1] if scope.get("client") else 0
        return {**scope, "client": (address, port) if address else None, "scheme": scheme}

    def _crossed(self, origins: Sequence[str]) -> ASGIApp:
        """What tells browsers that pages of these origins may call; nothing where there are none."""
        if not origins:
            return self._pass
        return CORSMiddleware(
            self._pass,
            allow_origins=origins,
            allow_methods=sorted(_METHODS - {"OPTIONS"}),
            allow_headers=CORS_SENT,
            expose_headers=CORS_SHOWN,
        )

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        passage = passage_of(Request(scope))
        try:
            answer = self._at_once(passage)
            if answer is None:
                await self._charge(passage)
        except HostlerError as refusal:
            answer = problems.told(Request(scope), refusal)
        if answer is not None:
            await answer(scope, receive, send)
        else:
            await self.app(scope, self._limited(passage, receive), send)

    def _at_once(self, passage: "Passage") -> Response | None:
        """The answer to what needs no route: OPTIONS, and what is refused for how it is written."""
        self._require_readable(passage.scope)
        if passage.method == "OPTIONS" and passage.allowed:
            return Response(status_code=204, headers={"Allow": passage.allow})
        said = Headers(scope=passage.scope).get("content-length", "")
        if said.isdecimal() and int(said) > self.settings.max_body_bytes:
            raise Terminal(ErrorCode.TOO_LARGE)
        return None

    def _require_readable(self, scope: Scope) -> None:
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        if len(path) + len(scope["query_string"]) > _LONGEST_TARGET:
            raise Terminal(ErrorCode.BAD_REQUEST, "The path and its query are too long.")
        if _TRICKS.search(path):
            raise Terminal(ErrorCode.NOT_FOUND, "No path here is written like that.")
        fields: list[tuple[bytes, bytes]] = scope["headers"]
        size = sum(len(name) + len(value) for name, value in fields)
        if len(fields) > self.settings.max_headers or size > self.settings.max_header_bytes:
            raise Terminal(ErrorCode.HEADERS_TOO_LARGE)
        once = [name for name, _ in fields if name in _ONCE]
        if len(set(once)) < len(once):
            raise Terminal(ErrorCode.BAD_REQUEST, "A header field is there twice that may be once.")

    async def _charge(self, passage: "Passage") -> None:
        """Count the request against the rates of its address, before anything is looked up."""
        if passage.kind is None:
            return
        whom = {Subject.ADDRESS: counted_as(passage.address)}
        # Those who log in have nobody else's rates to be told.
        tell = Subject.ADDRESS if passage.kind is RouteClass.SENSITIVE else None
        try:
            passage.told = await self.limiter.charge(passage.kind, whom, tell)
        except RateLimited as refusal:
            passage.told = told_of(refusal.standing)
            raise

    def _limited(self, passage: "Passage", receive: Receive) -> Receive:
        """The same, but Terminal once more body has come than may, or not all of it in time."""
        came, is_whole = 0, False
        until = asyncio.get_running_loop().time() + self.settings.body_timeout.total_seconds()

        async def limited() -> Message:
            nonlocal came, is_whole
            if is_whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                if passage.status:  # answered already: nobody waits for the rest
                    return {"type": "http.disconnect"}
                raise Terminal(ErrorCode.BODY_TIMEOUT) from None
            is_whole = not message.get("more_body", False)
            came += len(message.get("body", b""))
            if came > self.settings.max_body_bytes:
                raise Terminal(ErrorCode.TOO_LARGE)
            return message

        return limited

    def _allowed(self, path: str) -> set[str]:
        """The methods that a path knows: each may have a route of its own."""
        here = [route for route in self.routes if route.path_regex.match(path)]
        methods = {method for route in here for method in route.methods or ()}
        if "GET" in methods and not any(map(_streams, here)):
            methods.add("HEAD")
        return methods | {"OPTIONS"} if methods else methods


class Passage:
    """One request and its answer."""

    def __init__(
        self, scope: Scope, send: Send, allowed: Callable[[str], set[str]], hsts_seconds: int
    ) -> None:
        self.request_id = _request_id(scope)
        self.asked: str = scope["method"]
        """The method as it was sent: HEAD goes on as GET."""
        self.method = scope["method"] if scope["method"] in _METHODS else "other"
        self.path: str = scope["path"]
        self._allowed = allowed
        self.status = 0
        self.scope: Scope = {**scope, "method": "GET"} if self._is_head_of_get() else scope
        self.scope["state"] = {
            **scope.get("state", {}),
            "request_id": self.request_id,
            "passage": self,
        }
        self.visit = Visit(self.scope)
        """The same as the audit knows it."""
        self.answers: Callable[[Visit, int], Awaitable[None]] | None = None
        """Who is told of the answer's status before it is sent."""
        self.kind = class_of(self.method, self.path)
        self.address: str = scope["client"][0] if scope["client"] else ""
        self.told: Told = []
        """RateLimit and RateLimit-Policy, as far as they are known."""
        self._held: list[Callable[[], None]] = []
        self._hsts = hsts_seconds if scope["scheme"] == "https" else 0
        self._send = send
        self._began = time.perf_counter()

    @cached_property
    def allowed(self) -> set[str]:
        """The methods that the path knows; looked for only where it matters."""
        return self._allowed(self.path)

    @property
    def allow(self) -> str:
        """What the header Allow says."""
        return ", ".join(sorted(self.allowed))

    def _is_head_of_get(self) -> bool:
        """HEAD goes where GET does, but not to a stream, which would never end."""
        return self.method == "HEAD" and ("HEAD" in self.allowed or not self.allowed)

    async def send(self, message: Message) -> None:
        """Send a part of the answer; of the answer to HEAD only what stands above the body."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._headers(message)}
            if self.answers is not None:
                await self.answers(self.visit, self.status)
        elif self.method == "HEAD" and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def hold(self, give_back: Callable[[], None]) -> None:
        """Have something given back when the request is over, however it ends."""
        self._held.append(give_back)

    def end(self) -> None:
        """Give back what was held, and put the answer into the metrics.

        By the route's template: ids would make endless series. A refusal is logged, too, so that a
        problem's request_id leads somewhere.
        """
        # They name each other: kept so, both would be garbage that waits for a collection.
        del self.scope["state"]["passage"]
        while self._held:
            self._held.pop()()
        template = str(getattr(self.scope.get("route"), "path", "none"))
        count, seconds = _series(self.method, template, self.status)
        count.inc()
        seconds.observe(time.perf_counter() - self._began)
        if self.status >= _REFUSED:
            LOG.info("%s %s answered %d", self.method, template, self.status)

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        """The answer's own headers, and what every answer says besides."""
        said = dict(message["headers"])
        more = [(_REQUEST_ID_RAW, self.request_id.encode()), *_SECURITY, *self.told]
        if self._hsts:
            more.append((b"strict-transport-security", f"max-age={self._hsts}".encode()))
        if self.status == _TIMED_OUT:
            more.append((b"connection", b"close"))
        if self.status == _NOT_ALLOWED and self.allowed:
            more.append((b"allow", self.allow.encode()))
        ours = {name for name, _ in more}
        more = [each for each in message["headers"] if each[0] not in ours] + more
        if not said.get(b"content-type", b"").startswith(b"text/html"):
            more += [each for each in _FOR_DATA if each[0] not in said]
        return more


def _streams(route: APIRoute) -> bool:
    """Whether a route answers for as long as it is listened to."""
    made = route.response_class
    return isinstance(made, type) and issubclass(made, StreamingResponse)


@lru_cache(maxsize=4096)
def _series(method: str, template: str, status: int) -> tuple[Counter, Histogram]:
    """The metrics of such an answer; there are no more of them than routes can answer."""
    return REQUESTS.labels(method, template, str(status)), SECONDS.labels(method, template)


def passage_of(request: Request) -> Passage:
    """The passage of a request through the door."""
    return cast("Passage", request.state.passage)


def _request_id(scope: Scope) -> str:
    """The caller's own id if it is well-formed, else a new one."""
    said = Headers(scope=scope).get(REQUEST_ID, "")
    return said if _REQUEST_ID.fullmatch(said) else f"req-{uuid4()}"
