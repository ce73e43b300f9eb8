"""A client of Hostler's public API as anyone would write one: httpx, JSON, server-sent events."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import httpx

Json = dict[str, Any]
WAIT: Final = {"Prefer": "wait=20"}
FINAL: Final = frozenset({"succeeded", "failed", "cancelled"})


class DemoError(Exception):
    """Something is not as it was promised; `culprit` is the service whose log tells more."""

    def __init__(self, reason: str, culprit: str = "gateway") -> None:
        super().__init__(reason)
        self.culprit = culprit


class Client:
    """Calls the API and refuses answers of an unexpected status."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._http = httpx.Client(
            base_url=base_url,
            headers={"X-API-Key": api_key},
            timeout=httpx.Timeout(10, read=40),
            trust_env=False,
        )

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Json | None = None,
        headers: dict[str, str] | None = None,
        expect: tuple[int, ...] = (200,),
    ) -> httpx.Response:
        """The answer; DemoError if its status is not one of `expect`."""
        try:
            answer = self._http.request(method, path, json=json, headers=headers)
        except httpx.HTTPError as error:
            raise DemoError(f"{method} {path}: {type(error).__name__} {error}") from error
        if answer.status_code not in expect:
            raise DemoError(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer

    def get(self, path: str) -> Json:
        """The JSON object at this path."""
        return cast("Json", self.call("GET", path).json())

    def items(self, path: str) -> list[Json]:
        """The first page of a list."""
        return cast("list[Json]", self.get(path)["items"])

    def finish(self, operation: Json, timeout: float = 90.0) -> Json:
        """The operation, succeeded; DemoError if it ended otherwise or not in time."""
        deadline = time.monotonic() + timeout
        while operation["state"] not in FINAL and time.monotonic() < deadline:
            path = f"/v1/operations/{operation['id']}"
            operation = self.call("GET", path, headers=WAIT, expect=(200, 202)).json()
        if operation["state"] != "succeeded":
            error = operation.get("error")
            raise DemoError(
                f"{operation['command']} is {operation['state']}: {error}", "provisioner"
            )
        return operation

    def stream(self, vm_id: str) -> Iterator[Json]:
        """The events of one VM from its first one on, as they come, for as long as it is read."""
        params = {"vm_id": vm_id}
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "0"}
        with self._http.stream(
            "GET",
            "/v1/events",
            params=params,
            headers=headers,
            timeout=httpx.Timeout(10, read=None),
        ) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    event: Json = json.loads(line.removeprefix("data:"))
                    if "type" in event:  # hostler.reset has none
                        yield event

    def close(self) -> None:
        """Close its connections."""
        self._http.close()


class Follower:
    """Reads a VM's event stream on a thread of its own and keeps what came."""

    def __init__(self, client: Client, vm_id: str, tell: Callable[[Json], None]) -> None:
        self._events: list[Json] = []
        self._came = threading.Condition()
        self._tell = tell
        thread = threading.Thread(target=self._read, args=(client, vm_id), daemon=True)
        thread.start()

    def _read(self, client: Client, vm_id: str) -> None:
        try:
            for event in client.stream(vm_id):
                self._tell(event)
                with self._came:
                    self._events.append(event)
                    self._came.notify_all()
        except (httpx.HTTPError, RuntimeError):
            return  # the stream ends with the demo; a lost event is told by wait_for

    def wait_for(
        self, kind: str, wanted: Callable[[Json], bool] = lambda _: True, timeout: float = 20.0
    ) -> Json:
        """The first event of this type for which `wanted`; DemoError if none comes in time."""

        def found() -> Json | None:
            same = (event for event in self._events if event["type"] == kind)
            return next((event for event in same if wanted(event)), None)

        with self._came:
            event = self._came.wait_for(found, timeout)
        if event is None:
            raise DemoError(f"no {kind} as expected came within {timeout:.0f} s", "sync")
        return event
