"""The door: what every request goes through before routes and every answer after them."""

import logging
import re
import time
import uuid
from collections.abc import Callable, Sequence
from functools import cached_property

from fastapi import Request, Response
from fastapi.routing import APIRoute
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import problems
from chassis.errors import Terminal
from chassis.telemetry import bound
from contracts.errors import ErrorCode

LOG = logging.getLogger(__name__)
REQUEST_ID = "X-Openstack-Request-Id"
_REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_NOT_ALLOWED = 405
_REFUSED = 400
REQUESTS = Counter("hostler_http_requests", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram("hostler_http_request_seconds", "Time to the answer.", ["method", "route"])
_REQUEST_ID_RAW = REQUEST_ID.lower().encode()
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]
_FOR_DATA = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
]


class Door:
    """ASGI middleware: request ids, body limit, HEAD and OPTIONS, security headers, metrics.

    FastAPI's own body limit answers in plain text and past the middleware; hence this one.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute], max_body: int) -> None:
        self.app = app
        self.routes = routes
        self.max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; whatever goes wrong, it is answered as a problem."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        passage = Passage(scope, send, self._allowed)
        with bound(request_id=passage.request_id):
            try:
                await self._pass(passage, receive)
            except Exception:
                if passage.status:
                    raise
                LOG.exception("unhandled")
                answer = problems.problem(Request(scope), ErrorCode.INTERNAL)
                await answer(passage.scope, receive, passage.send)
            finally:
                passage.count()

    async def _pass(self, passage: "Passage", receive: Receive) -> None:
        answer = self._at_once(passage)
        if answer is not None:
            await answer(passage.scope, receive, passage.send)
        else:
            await self.app(passage.scope, _limited(receive, self.max_body), passage.send)

    def _at_once(self, passage: "Passage") -> Response | None:
        """The answer to what needs no route: OPTIONS, and a body that says that it is too large."""
        if passage.method == "OPTIONS" and passage.allowed:
            return Response(status_code=204, headers={"Allow": passage.allow})
        said = Headers(scope=passage.scope).get("content-length", "")
        if said.isdecimal() and int(said) > self.max_body:
            return problems.problem(Request(passage.scope), ErrorCode.TOO_LARGE)
        return None

    def _allowed(self, path: str) -> set[str]:
        """The methods that a path knows: each may have a route of its own."""
        here = [route for route in self.routes if route.path_regex.match(path)]
        methods = {method for route in here for method in route.methods or ()}
        if "GET" in methods and not any(map(_streams, here)):
            methods.add("HEAD")
        return methods | {"OPTIONS"} if methods else methods


class Passage:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send, allowed: Callable[[str], set[str]]) -> None:
        self.request_id = _request_id(scope)
        self.method = scope["method"] if scope["method"] in _METHODS else "other"
        self.path: str = scope["path"]
        self._allowed = allowed
        self.status = 0
        self.scope: Scope = {**scope, "method": "GET"} if self._is_head_of_get() else scope
        self.scope["state"] = {**scope.get("state", {}), "request_id": self.request_id}
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
        elif self.method == "HEAD" and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def count(self) -> None:
        """Put the answer into the metrics, by the route's template: ids would make endless series.

        A refusal is logged, too, so that a problem's request_id leads somewhere.
        """
        template = str(getattr(self.scope.get("route"), "path", "none"))
        REQUESTS.labels(self.method, template, str(self.status)).inc()
        SECONDS.labels(self.method, template).observe(time.perf_counter() - self._began)
        if self.status >= _REFUSED:
            LOG.info("%s %s answered %d", self.method, template, self.status)

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        """The answer's own headers, and what every answer says besides."""
        said = dict(message["headers"])
        more = [(_REQUEST_ID_RAW, self.request_id.encode()), *_SECURITY]
        if self.status == _NOT_ALLOWED and self.allowed:
            more.append((b"allow", self.allow.encode()))
        more = [each for each in message["headers"] if each[0] not in dict(more)] + more
        if not said.get(b"content-type", b"").startswith(b"text/html"):
            more += [each for each in _FOR_DATA if each[0] not in said]
        return more


def _streams(route: APIRoute) -> bool:
    """Whether a route answers for as long as it is listened to."""
    made = route.response_class
    return isinstance(made, type) and issubclass(made, StreamingResponse)


def _limited(receive: Receive, most: int) -> Receive:
    """The same, but Terminal(TOO_LARGE) once more than `most` bytes of body have come."""
    came = 0

    async def limited() -> Message:
        nonlocal came
        message = await receive()
        came += len(message.get("body", b""))
        if came > most:
            raise Terminal(ErrorCode.TOO_LARGE)
        return message

    return limited


def _request_id(scope: Scope) -> str:
    """The caller's own id if it is well-formed, else a new one."""
    said = Headers(scope=scope).get(REQUEST_ID, "")
    return said if _REQUEST_ID.fullmatch(said) else f"req-{uuid.uuid4()}"
