"""1,000 followers of GET /v1/events: from an event on Kafka to the last of them.

Run as a module of its own it is the followers: a process that opens the streams and notes when each
event has come to all.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from typing import Any, cast

import uvloop
from aiokafka import AIOKafkaProducer

from bench.bench import Bench, gateway_port
from bench.client import cpu_seconds
from bench.result import Measured, percentile
from bench.rows.accept import OTHERS
from bench.spent import each, sentence
from chassis.ids import new_id
from chassis.wire import encode
from contracts.message import Body, Message, utc_now
from contracts.vm.events import Changed
from contracts.vm.states import VmSnapshot, VmState
from deploy.local.stack import PROJECT

FOLLOWERS = 1000
EVENTS = 60
APART = 0.25
AT_ONCE = 50
OPENED_PER_SECOND = 250
"""Below the rate of one caller."""
_ID = re.compile(rb'"id":"([0-9a-f-]{36})","source"')


async def measure(bench: Bench) -> Measured:
    """Events at a steady pace; each counts from its hand-over to Kafka to its last arrival."""
    row = Measured("followers", "no floor: an absolute goal")
    followers, events = bench.count(FOLLOWERS), bench.count(EVENTS)
    async with bench.stack() as stack:
        for name in OTHERS:
            stack.parts[name].stop()
        given = {"port": gateway_port(stack), "key": stack.api_key}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bench.rows.followers",
            json.dumps({**given, "followers": followers, "events": events}),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None  # noqa: S101 - it was asked for
        async with asyncio.timeout(120):
            await process.stdout.readline()
            used = cpu_seconds(stack)
            said = await _say(stack.kafka, events)
            arrived: dict[str, float] = json.loads(await process.stdout.readline())
            spent = each(used, cpu_seconds(stack), events)
        await process.wait()
    waits = [(arrived[i] - at) * 1000 for i, at in said.items() if i in arrived]
    row.figure("followers", followers, "")
    row.figure("events that came to all", len(waits), f"of {events}")
    for share in (0.5, 0.95, 0.99):
        row.figure(f"event → last follower, p{share * 100:g}", percentile(waits, share), "ms")
    row.at_least("events that came to all", len(waits) / events, 1)
    row.at_most("event → last follower, p95 in ms", percentile(waits, 0.95), 250)
    row.limit = sentence(f"an event written to {followers} streams", spent)
    return row


async def _say(kafka: str, events: int) -> dict[str, float]:
    """When each event was given to Kafka."""
    said: dict[str, float] = {}
    made: Any = AIOKafkaProducer(bootstrap_servers=kafka)  # its types are half known
    async with made as producer:
        for version in range(1, events + 1):
            message = _changed(version)
            record = encode(message)
            headers = [(name, text.encode()) for name, text in record.headers.items()]
            said[str(message.id)] = time.time()
            await producer.send_and_wait(
                record.topic, record.value, key=record.key.encode(), headers=headers
            )
            await asyncio.sleep(APART)
    return said


def _changed(version: int) -> Message[Body]:
    now = utc_now()
    vm = VmSnapshot(server_id="s", name="followed", state=VmState.ACTIVE)
    body = Changed(origin="hostler", old={}, new={}, version=version, observed_at=now, vm=vm)
    return Message(
        id=new_id(),
        source="hostler/bench",
        time=now,
        subject=str(new_id()),
        project_id=PROJECT,
        account="simulator",
        actor="cloud",
        data=body,
    )


class _Follower(asyncio.Protocol):
    """One open stream."""

    def __init__(self, run: "_Run") -> None:
        self.run = run
        self.connected = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        request = f"GET /v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {self.run.key}\r\n\r\n"
        cast("asyncio.Transport", transport).write(request.encode())

    def data_received(self, data: bytes) -> None:
        if not self.connected and b"connected" in data:
            self.connected = True
            self.run.connected += 1
        for found in _ID.findall(data):
            self.run.came(found.decode())


class _Run:
    def __init__(self, given: dict[str, Any]) -> None:
        self.port: int = given["port"]
        self.key: str = given["key"]
        self.followers: int = given["followers"]
        self.events: int = given["events"]
        self.connected = 0
        self.last: dict[str, float] = {}
        self._counts: Counter[str] = Counter()

    def came(self, event: str) -> None:
        self._counts[event] += 1
        if self._counts[event] == self.followers:
            self.last[event] = time.time()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for begun in range(0, self.followers, AT_ONCE):
            some = min(AT_ONCE, self.followers - begun)
            await asyncio.gather(
                *(
                    loop.create_connection(lambda: _Follower(self), "127.0.0.1", self.port)
                    for _ in range(some)
                )
            )
            await asyncio.sleep(AT_ONCE / OPENED_PER_SECOND)
        async with asyncio.timeout(60):
            while self.connected < self.followers:
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        print("ready", flush=True)
        end = time.time() + self.events * APART + 15
        while len(self.last) < self.events and time.time() < end:
            await asyncio.sleep(0.05)
        print(json.dumps(self.last), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Run(json.loads(sys.argv[1])).run())
