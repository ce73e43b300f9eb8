"""Asking other people's servers over HTTP: answers bounded in size and time, no redirects, no proxies."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import cast

import httpx
from pydantic import JsonValue

from chassis.errors import Retry
from contracts.errors import ErrorCode

RETRY = timedelta(seconds=5)
MAX_BYTES = 512 * 1024
_SERVER_ERROR = 500
_TOO_MANY = 429


@dataclass(frozen=True)
class Answer:
    """What was answered; `body` is empty where that was no JSON object."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, JsonValue]

    @property
    def is_ok(self) -> bool:
        """Whether it is what was asked for."""
        return self.status in {200, 201}


class Web:
    """`whom`: how the other side is called in problems. `transport` takes the network's place."""

    def __init__(
        self, whom: str, timeout: timedelta, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.whom = whom
        self.timeout = timeout.total_seconds()
        self.transport = transport

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        content: object = None,
    ) -> Answer:
        """The answer; Retry(UNAVAILABLE) if there is none, or one of a server that is not well."""
        try:
            async with asyncio.timeout(self.timeout), self._client() as client:
                request = client.build_request(
                    method, url, headers=headers, data=form, json=content
                )
                answer = await client.send(request, stream=True)
                try:
                    body = await self._read(answer)
                finally:
                    await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            raise self.down(type(error).__name__) from error
        if answer.status_code >= _SERVER_ERROR or answer.status_code == _TOO_MANY:
            raise self.down(f"status {answer.status_code}")
        return Answer(answer.status_code, answer.headers, body)

    def down(self, why: str) -> Retry:
        """What is raised for an answer that nothing can be done with."""
        return Retry(ErrorCode.UNAVAILABLE, f"{self.whom} does not answer: {why}.", after=RETRY)

    async def _read(self, answer: httpx.Response) -> Mapping[str, JsonValue]:
        came = bytearray()
        async for chunk in answer.aiter_bytes():
            came += chunk
            if len(came) > MAX_BYTES:
                raise self.down("too much")
        try:
            read = json.loads(came or b"{}")
        except (ValueError, RecursionError):
            return {}
        return cast("Mapping[str, JsonValue]", read) if isinstance(read, dict) else {}

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self.transport, verify=self._trusted, trust_env=False)

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        """The system's authorities, and those of SSL_CERT_FILE; reading them takes a while."""
        return ssl.create_default_context()
