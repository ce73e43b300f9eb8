"""The door: what every request goes through before routes and every answer after them."""

import logging
import re
import time
import uuid
from typing import Any

from fastapi import Request
from prometheus_client import Counter, Histogram
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import problems
from chassis.telemetry import bound
from contracts.errors import ErrorCode

LOG = logging.getLogger(__name__)
REQUEST_ID = "X-Openstack-Request-Id"
_REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
REQUESTS = Counter("hostler_http_requests", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram("hostler_http_request_seconds", "Time to the answer.", ["method", "route"])
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_FOR_DATA = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Door:
    """ASGI middleware: request id in and out, security headers, metrics, HEAD as GET, last resort."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        passage = _Passage(scope, send, request_id)
        with bound(request_id=request_id):
            try:
                await self.app(passage.scope, receive, passage.send)
            except Exception:
                if passage.status:
                    raise
                LOG.exception("unhandled")
                answer = problems.problem(Request(scope), ErrorCode.INTERNAL)
                await answer(scope, receive, passage.send)
            finally:
                passage.count()


class _Passage:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self.method = scope["method"] if scope["method"] in _METHODS else "other"
        self.scope = {**scope, "method": "GET"} if self.method == "HEAD" else scope
        self.status = 0
        self._send = send
        self._request_id = request_id
        self._began = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Send a part of the answer; of the answer to HEAD only what stands above the body."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._add_headers(MutableHeaders(raw=message["headers"]))
        elif self.method == "HEAD" and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def _add_headers(self, headers: MutableHeaders) -> None:
        headers[REQUEST_ID] = self._request_id
        for name, value in _SECURITY.items():
            headers[name] = value
        if not headers.get("content-type", "").startswith("text/html"):
            for name, value in _FOR_DATA.items():
                headers.setdefault(name, value)

    def count(self) -> None:
        """Put the answer into the metrics, by the route's template: ids would make endless series."""
        route: Any = self.scope.get("route")
        template = str(getattr(route, "path", "none"))
        REQUESTS.labels(self.method, template, str(self.status)).inc()
        SECONDS.labels(self.method, template).observe(time.perf_counter() - self._began)


def _request_id(scope: Scope) -> str:
    """The caller's own id if it is well-formed, else a new one."""
    wanted = REQUEST_ID.lower().encode()
    for name, value in scope["headers"]:
        said = value.decode("latin-1")
        if name == wanted and _REQUEST_ID.fullmatch(said):
            return str(said)
    return f"req-{uuid.uuid4()}"
