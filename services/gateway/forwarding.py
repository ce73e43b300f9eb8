"""Asking audit on a caller's behalf: the gateway vouches for who is asking."""

from datetime import timedelta

import httpx

from chassis.errors import Retry
from contracts.errors import ErrorCode

RETRY = timedelta(seconds=5)
_PASSED = {200, 400}


class Audit:
    """The audit service over HTTP. `transport` takes the network's place in tests."""

    def __init__(
        self, url: str, timeout: timedelta, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout.total_seconds()
        self.transport = transport

    async def get(self, path: str, query: str, token: str, request_id: str) -> httpx.Response:
        """Audit's answer; Retry(UNAVAILABLE) if it gives none that a caller could use."""
        headers = {"Authorization": f"Bearer {token}", "X-Openstack-Request-Id": request_id}
        try:
            async with self._client() as client:
                answer = await client.get(
                    f"{self.url}{path}" + (f"?{query}" if query else ""), headers=headers
                )
        except httpx.HTTPError as error:
            raise _down(type(error).__name__) from error
        if answer.status_code not in _PASSED:
            raise _down(f"status {answer.status_code}")
        return answer

    async def ping(self) -> str:
        """Where audit is; raises if it is not well."""
        async with self._client() as client:
            (await client.get(f"{self.url}/healthz")).raise_for_status()
        return self.url

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self.transport, timeout=self.timeout, trust_env=False)


def _down(why: str) -> Retry:
    return Retry(ErrorCode.UNAVAILABLE, f"Audit does not answer: {why}.", after=RETRY)
