"""Asking audit on a caller's behalf: the gateway vouches for who is asking."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx

from chassis.errors import Retry
from chassis.problems import MEDIA_TYPE
from contracts.errors import ErrorCode

RETRY = timedelta(seconds=5)
_PASSED = {200, 202, 400, 404}
_NOT_YET = 503


class Audit:
    """The audit service over HTTP. `transport` takes the network's place in tests."""

    def __init__(
        self, url: str, timeout: timedelta, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout.total_seconds()
        self.transport = transport

    async def ask(
        self, path: str, query: str, token: str, request_id: str, *, method: str = "GET"
    ) -> httpx.Response:
        """Audit's answer; Retry(UNAVAILABLE) if it gives none that a caller could use."""
        async with self._asked(method, path, query, token, request_id) as answer:
            try:
                await answer.aread()
            except httpx.HTTPError as error:
                raise _down(type(error).__name__) from error
            return answer

    async def stream(
        self, path: str, query: str, token: str, request_id: str
    ) -> AsyncGenerator[bytes]:
        """First the media type of audit's answer, as bytes, then the answer as it comes.

        Retry(UNAVAILABLE) before the first, as `ask` has it; a stream that breaks off raises.
        """
        async with self._asked("GET", path, query, token, request_id) as answer:
            yield answer.headers.get("content-type", "application/x-ndjson").encode()
            async for chunk in answer.aiter_bytes():
                yield chunk

    async def ping(self) -> str:
        """Where audit is; raises if it is not well."""
        async with self._client() as client:
            (await client.get(f"{self.url}/healthz")).raise_for_status()
        return self.url

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, query: str, token: str, request_id: str
    ) -> AsyncGenerator[httpx.Response]:
        headers = {"Authorization": f"Bearer {token}", "X-Openstack-Request-Id": request_id}
        url = f"{self.url}{path}" + (f"?{query}" if query else "")
        async with self._client() as client:
            request = client.build_request(method, url, headers=headers)
            try:
                answer = await client.send(request, stream=True)
            except httpx.HTTPError as error:
                raise _down(type(error).__name__) from error
            try:
                if not _can_be_passed(answer):
                    raise _down(f"status {answer.status_code}")
                yield answer
            finally:
                await answer.aclose()

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self.transport, timeout=self.timeout, trust_env=False)


def _can_be_passed(answer: httpx.Response) -> bool:
    """Whether a caller can use it. A 503 that is a problem says what is not done yet."""
    told = answer.headers.get("content-type", "") == MEDIA_TYPE
    return answer.status_code in _PASSED or (answer.status_code == _NOT_YET and told)


def _down(why: str) -> Retry:
    return Retry(ErrorCode.UNAVAILABLE, f"Audit does not answer: {why}.", after=RETRY)
