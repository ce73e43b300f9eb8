"""Does what the plan says, and undoes it: when a mishap has passed, everything runs again."""

import asyncio
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from contracts.topics import TOPICS
from deploy.local.stack import Stack
from tests.faults.chaos import kafka
from tests.faults.chaos.callers import Servers
from tests.faults.chaos.journal import Journal
from tests.faults.chaos.plan import Kind, Mishap

COMPUTE = {"service": "compute", "path_regex": "/servers"}
ORDERS = ("POST", "POST", "PUT", "DELETE")
"""By which the cloud is told to do something, creates and actions as often as all else."""
PLENTY = {"instances": -1, "cores": -1, "ram": -1}


class Mishaps:
    """Each part suffers one at a time; several parts may suffer at once."""

    def __init__(self, stack: Stack, cloud_url: str, servers: Servers, journal: Journal) -> None:
        self.stack = stack
        self.journal = journal
        self.servers = servers
        self.control = httpx.Client(base_url=f"{cloud_url}/control", timeout=10, trust_env=False)
        self.clocks = {name: stack.folder / f"{name}.clock" for name in stack.names()}
        self.poisons: set[bytes] = set()
        self.vanished: set[str] = set()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def befall(self, mishap: Mishap) -> None:
        """Return when it has passed. What could not be done (its target is down) is noted."""
        self.journal.note("mishap", str(mishap), aloud=True)
        way = self._ways(mishap, random.Random(mishap.dice))[mishap.kind]
        try:
            way()
        except Exception as error:  # noqa: BLE001 - what it needs is down: that is another mishap's
            self.journal.note("mishap", f"{mishap} could not be: {error!r}", aloud=True)
            self.journal.count(f"not possible: {mishap.kind}")
        else:
            self.journal.note("mishap", f"{mishap} has passed")
            self.journal.count(mishap.kind)

    def _ways(self, mishap: Mishap, dice: random.Random) -> dict[Kind, Callable[[], object]]:
        stack, part, seconds, order = self.stack, mishap.part, mishap.seconds, self._order
        return {
            Kind.KILL: lambda: self._down([part], seconds, stack.kill),
            Kind.KILL_ALL: lambda: self._down(stack.names(mishap.service), seconds, stack.kill),
            Kind.PAUSE: lambda: self._pause(part, seconds),
            Kind.CLOCK: lambda: self._move_clock(part, dice.uniform(-180, 180), seconds),
            Kind.KAFKA_KILLED: lambda: self._down(["broker"], seconds, stack.kill),
            Kind.KAFKA_STOPPED: lambda: self._down(["broker"], seconds, self._end),
            Kind.POSTGRES_KILLED: lambda: self._down(["postgres"], seconds, stack.kill),
            Kind.POSTGRES_STOPPED: lambda: self._down(["postgres"], seconds, self._end),
            Kind.CLOUD_STOPPED: lambda: self._down(["cloud"], seconds, self._end),
            Kind.LOST_AFTER: lambda: self._lose(dice, "after"),
            Kind.LOST_BEFORE: lambda: self._lose(dice, "before"),
            Kind.BUSY: lambda: order(COMPUTE, dice, kind="status", status=429, retry_after=2),
            Kind.UNAVAILABLE: lambda: order(COMPUTE, dice, kind="status", status=503),
            Kind.SLOW: lambda: order(COMPUTE, dice, kind="latency", seconds=seconds),
            Kind.BAD_BUILD: lambda: self._build("error", dice.randint(1, 3)),
            Kind.HANGING_BUILD: lambda: self._build("hang", 1),
            Kind.SLOW_BUILD: lambda: self._build("slow", dice.randint(1, 3), seconds=seconds),
            Kind.VANISH: lambda: self._from_outside(mishap.kind, dice),
            Kind.DELETED: lambda: self._from_outside(mishap.kind, dice),
            Kind.STOPPED: lambda: self._from_outside(mishap.kind, dice),
            Kind.RENAMED: lambda: self._from_outside(mishap.kind, dice),
            Kind.TOKENS: lambda: self._post("/tokens/expire"),
            Kind.QUOTA: lambda: self._quota(seconds),
            Kind.REPEAT: lambda: self._repeat(dice),
            Kind.REWIND: lambda: self._rewind(mishap.service, dice),
            Kind.POISON: lambda: self.poisons.add(asyncio.run(kafka.poison(stack.kafka, dice))),
        }

    def _build(self, outcome: str, times: int, **more: float) -> None:
        self._post("/builds", outcome=outcome, times=times, **more)

    def _repeat(self, dice: random.Random) -> None:
        done = asyncio.run(kafka.repeat(self.stack.kafka, dice))
        self.journal.count("records published again", done)

    @contextmanager
    def _alone(self, parts: list[str]) -> Generator[None]:
        """While nothing else befalls these parts."""
        with ExitStack() as held:
            for part in sorted(parts):
                held.enter_context(self._locks[part])
            yield

    def _down(self, parts: list[str], seconds: float, end: Callable[[str], None]) -> None:
        with self._alone(parts):
            for part in parts:
                end(part)
            time.sleep(seconds)
            self._up(parts)

    def _end(self, part: str) -> None:
        self.stack.parts[part].stop()

    def _up(self, parts: list[str]) -> None:
        """Start them again; a service is not ready while Kafka or Postgres are out: it will be."""
        for part in parts:
            began = time.monotonic()
            if part in self.clocks:
                self.stack.process(part).child.start()
            else:
                self.stack.parts[part].start()
            self._note_recovery(part, began)

    def _note_recovery(self, part: str, began: float) -> None:
        names = [part] if part in self.clocks else self.stack.names("gateway", "provisioner")
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if all(self.stack.process(name).is_ready() for name in names):
                self.journal.recovered(part.partition(".")[0], time.monotonic() - began)
                return
            time.sleep(0.1)

    def _pause(self, part: str, seconds: float) -> None:
        child = self.stack.process(part).child
        with self._alone([part]):
            child.pause()
            try:
                time.sleep(seconds)
            finally:
                child.resume()

    def _move_clock(self, part: str, offset: float, seconds: float) -> None:
        self.journal.note("mishap", f"the clock of {part} goes {offset:+.0f} s")
        write(self.clocks[part], offset)
        time.sleep(seconds)
        write(self.clocks[part], 0)

    def _order(self, match: dict[str, str], dice: random.Random, **effect: Any) -> None:
        fault = {"match": match, "effect": effect, "times": dice.randint(1, 5)}
        self._post("/faults", **fault)

    def _lose(self, dice: random.Random, when: str) -> None:
        method = dice.choice(ORDERS)
        self._order(COMPUTE | {"method": method}, dice, kind="drop", when=when)
        self.journal.count(f"answers of {method} lost {when} the effect, ordered")

    def _post(self, path: str, **body: Any) -> None:
        self.control.post(path, json=body).raise_for_status()

    def _from_outside(self, kind: Kind, dice: random.Random) -> None:
        servers = sorted(self.servers.marked(), key=lambda server: server["created"])
        if not servers:
            return
        server_id = dice.choice(servers)["id"]
        self.journal.note("mishap", f"{kind}: {server_id}")
        if kind is Kind.VANISH:
            self.vanished.add(server_id)
            self._post(f"/servers/{server_id}/vanish")
        elif kind is Kind.DELETED:
            self._post(f"/servers/{server_id}/delete")
        elif kind is Kind.STOPPED:
            self._post(f"/servers/{server_id}/set", status="SHUTOFF")
        else:
            self._post(f"/servers/{server_id}/set", name=f"outside-{dice.getrandbits(16)}")

    def _quota(self, seconds: float) -> None:
        self._post("/quota", instances=len(self.servers.all()))
        time.sleep(seconds)
        self._post("/quota", **PLENTY)

    def _rewind(self, service: str, dice: random.Random) -> None:
        names = self.stack.names(service)
        topics = tuple(t.name for t in TOPICS if service in t.consumers and t.name != "canary")
        with self._alone(names):
            try:
                for name in names:
                    self.stack.process(name).child.ask_to_stop()
                for name in names:
                    self.stack.process(name).stop()
                its = f"hostler.{service}"
                for group in (its, *(f"{its}.{topic}" for topic in topics)):
                    back = asyncio.run(kafka.rewind(self.stack.kafka, group, topics, dice))
                    self.journal.count("offsets set back by", back)
            finally:
                self._up(names)

    def calm(self) -> None:
        """No fault is left, and whatever was ended runs."""
        for name, file in self.clocks.items():
            write(file, 0)
            self.stack.process(name).child.resume()
        for name in ("postgres", "broker", "cloud"):
            self.stack.parts[name].start()
        for name in self.stack.names():
            self.stack.process(name).child.start()
        for name in self.stack.names():
            self.stack.parts[name].start()
        self.control.delete("/faults").raise_for_status()
        self.control.delete("/builds").raise_for_status()
        self._post("/quota", **PLENTY)


def write(file: Path, offset: float) -> None:
    """Move a clock; the reader never sees half of it."""
    new = file.with_suffix(".new")
    new.write_text(str(offset))
    new.replace(file)
