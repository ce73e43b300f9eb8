"""A follower of /v1/events that goes on where it was, at either gateway, whenever it is cut off."""

import itertools
import json
import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx

from tests.faults.chaos.journal import Journal


@dataclass(frozen=True)
class Heard:
    """One event of the stream, with its place."""

    place: int
    kind: str
    event: dict[str, Any]


class Follower(threading.Thread):
    """Keeps everything it hears, from the first event of all on."""

    def __init__(self, name: str, gateways: list[str], api_key: str, journal: Journal) -> None:
        super().__init__(name=name, daemon=True)
        self.heard: list[Heard] = []
        self.over = threading.Event()
        self._gateways = itertools.cycle(gateways)
        self._headers = {"X-API-Key": api_key, "Accept": "text/event-stream"}
        self._journal = journal

    @property
    def place(self) -> int:
        return self.heard[-1].place if self.heard else 0

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self._follow(next(self._gateways))
            except (httpx.HTTPError, json.JSONDecodeError) as error:
                self._journal.note(self.name, f"cut off behind {self.place}: {error!r}")
            time.sleep(0.3)

    def _follow(self, url: str) -> None:
        headers = self._headers | {"Last-Event-ID": str(self.place)}
        timeout = httpx.Timeout(5, read=20)
        with (
            httpx.Client(trust_env=False, timeout=timeout) as http,
            http.stream("GET", f"{url}/v1/events", headers=headers) as answer,
        ):
            answer.raise_for_status()
            self._journal.count("streams opened")
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if self.over.is_set():
                    return
                if not line:
                    self._take(fields)
                    fields = {}
                name, _, value = line.partition(":")
                fields[name] = value.strip()

    def _take(self, fields: dict[str, str]) -> None:
        """A whole message; what was cut in the middle has no empty line behind it."""
        if "id" in fields and "data" in fields:
            event = json.loads(fields["data"])
            self.heard.append(Heard(int(fields["id"]), fields.get("event", ""), event))
