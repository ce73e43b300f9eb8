"""The load generator: many connections to one server, in a process of its own.

With a `rate` it is open-loop: requests are due by a fixed schedule, whether or not earlier ones
have been answered, and a latency counts from when the request was due; so a server that stalls
cannot slow the schedule and hide it. Without, it keeps `in_flight` requests under way.
"""

import asyncio
import json
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import uvloop

from bench.result import percentile

CONNECT_AT_ONCE = 50


@dataclass(frozen=True)
class Load:
    """What to send, the paths in turn. `{n}` in paths, headers and body is another in each request."""

    port: int
    paths: tuple[str, ...]
    seconds: float
    method: str = "GET"
    connections: int = 1000
    rate: float | None = None
    in_flight: int = 64
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: str = ""
    warm_up: float = 1.0
    """Seconds at the beginning that are not counted."""


@dataclass(frozen=True)
class Answered:
    """How it went. Latencies are milliseconds; `statuses` counts answers, `0` those that never came."""

    rate: float
    p50: float
    p95: float
    p99: float
    slowest: float
    requests: int
    statuses: dict[str, int]

    @property
    def failed(self) -> int:
        """Answers that were no success, or none."""
        return sum(n for status, n in self.statuses.items() if not status.startswith("2"))


async def load(wanted: Load) -> Answered:
    """Run the generator as a process of its own; RuntimeError with its words if it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(json.dumps(asdict(wanted)).encode())
    if process.returncode:
        raise RuntimeError(err.decode()[-2000:])
    return Answered(**json.loads(out))


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, run: "_Run") -> None:
        self.run = run
        self.due = 0.0
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._expected = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        self.run.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.run.lost(self)

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at `due` (the loop's clock)."""
        self.due = due
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._expected < 0 and not self._read_head():
            return
        if len(self._buffer) >= self._expected:
            status = bytes(self._buffer[9:12]).decode()
            self._buffer.clear()
            self._expected = -1
            self.run.answered(self, status)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[:end]).lower()
        place = head.find(b"content-length:")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        self._expected = end + 4 + length
        return True


class _Run:
    """The schedule, and what became of it."""

    def __init__(self, wanted: Load) -> None:
        self.wanted = wanted
        self.clock = time.perf_counter
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.idle: deque[_Connection] = deque()
        self.waiting: deque[tuple[bytes, float]] = deque()
        self.begun = 0.0
        self.over = False
        self._under_way = 0
        self._mark = uuid.uuid4().hex[:12]
        self._number = 0

    async def run(self) -> Answered:
        """Open the connections, send, and wait for the last answers."""
        await self._connect()
        self.begun = self.clock()
        if self.wanted.rate:
            await self._keep_schedule(self.wanted.rate)
        else:
            for _ in range(min(self.wanted.in_flight, len(self.idle))):
                self._send(self.clock())
            await asyncio.sleep(self.wanted.seconds)
        self.over = True
        await self._drain()
        return self._told()

    async def _connect(self) -> None:
        loop, left = asyncio.get_running_loop(), self.wanted.connections
        while left > 0:
            some = min(left, CONNECT_AT_ONCE)
            await asyncio.gather(
                *(
                    loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.wanted.port)
                    for _ in range(some)
                )
            )
            left -= some

    async def _keep_schedule(self, rate: float) -> None:
        sent, total = 0, int(rate * self.wanted.seconds)
        while sent < total:
            now = self.clock()
            while sent < total and self.begun + sent / rate <= now:
                self._send(self.begun + sent / rate)
                sent += 1
            await asyncio.sleep(max(0.0, self.begun + sent / rate - self.clock()))

    async def _drain(self) -> None:
        end = self.clock() + 10
        while (self._under_way or self.waiting) and self.clock() < end:
            await asyncio.sleep(0.01)
        self.statuses["0"] += self._under_way + len(self.waiting)

    def _send(self, due: float) -> None:
        request = self._request()
        if self.idle:
            self._under_way += 1
            self.idle.popleft().send(request, due)
        else:
            self.waiting.append((request, due))

    def _request(self) -> bytes:
        self._number += 1
        mark, wanted = f"{self._mark}-{self._number}", self.wanted
        body = wanted.body.replace("{n}", mark).encode()
        headers = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **wanted.headers}
        if body:
            headers["Content-Type"] = "application/json"
        lines = "".join(f"{k}: {v.replace('{n}', mark)}\r\n" for k, v in headers.items())
        path = wanted.paths[self._number % len(wanted.paths)].replace("{n}", mark)
        return f"{wanted.method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body

    def answered(self, connection: _Connection, status: str) -> None:
        """Note an answer and put the connection to use again."""
        self._under_way -= 1
        now = self.clock()
        if connection.due - self.begun >= self.wanted.warm_up:
            self.statuses[status] += 1
            self.latencies.append((now - connection.due) * 1000)
        if self.waiting:
            self._under_way += 1
            connection.send(*self.waiting.popleft())
            return
        self.idle.append(connection)
        if self.wanted.rate is None and not self.over:
            self._send(now)

    def free(self, connection: _Connection) -> None:
        """A connection is open."""
        self.idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        """A connection was closed by the server."""
        if connection in self.idle:
            self.idle.remove(connection)

    def _told(self) -> Answered:
        seconds = self.wanted.seconds - self.wanted.warm_up
        found = self.latencies or [float("inf")]
        return Answered(
            rate=round(len(self.latencies) / seconds, 1),
            p50=round(percentile(found, 0.5), 3),
            p95=round(percentile(found, 0.95), 3),
            p99=round(percentile(found, 0.99), 3),
            slowest=round(max(found), 3),
            requests=len(self.latencies),
            statuses=dict(self.statuses),
        )


def main() -> None:
    """Read a Load as JSON from stdin, write an Answered as JSON to stdout."""
    given: dict[str, Any] = json.load(sys.stdin)
    given["paths"] = tuple(given["paths"])
    wanted = Load(**given)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(_Run(wanted).run()))))


if __name__ == "__main__":
    main()
