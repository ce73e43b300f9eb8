"""One run: a stack, callers, followers, mishaps by the plan, then calm, and the books."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from deploy.local.broker import Kind, choose_broker
from deploy.local.cloud import LocalCloud
from deploy.local.processes import StartError
from deploy.local.stack import SERVICES, Stack, service_of
from tests.faults.chaos.callers import Book, Caller, Outside, Servers
from tests.faults.chaos.followers import Follower
from tests.faults.chaos.journal import Journal
from tests.faults.chaos.mishaps import Mishaps
from tests.faults.chaos.plan import Mishap, plan
from tests.faults.chaos.verdict import judge
from tests.faults.chaos.world import Outside as Seen
from tests.faults.scene import login

CALLERS = 4
FOLLOWERS = 2
SETTLE_SECONDS = 420.0
AGREE_SECONDS = 120.0
QUICK = {
    "HOSTLER_LEASE_TTL": "PT8S",
    "HOSTLER_OPENSTACK_READ_TIMEOUT": "5",
    "HOSTLER_CALL_TIMEOUT": "PT20S",
    "HOSTLER_SETTLE": "PT1S",
    "HOSTLER_BACKOFF_CAP": "PT3S",
    "HOSTLER_BACKOFF_MAX_SECONDS": "5",
    "HOSTLER_SWEEP_FULL_SECONDS": "10",
    "HOSTLER_BUILD_TIMEOUT": "PT30S",
    "HOSTLER_INVENTORY_INTERVAL_SECONDS": "10",
}


@dataclass
class Outcome:
    """What a run came to. `differs`: each check, with what does not hold."""

    seed: int
    journal: Journal
    book: Book
    seen: Seen
    differs: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    settled_after: float = 0.0

    @property
    def ok(self) -> bool:
        return not any(self.differs.values())


def run(seed: int, seconds: float, folder: Path) -> Outcome:
    """Run for so long by this seed; the folder keeps logs and data. StartError: it never began."""
    if choose_broker().kind is not Kind.KAFKA:
        raise StartError("only a local Apache Kafka keeps its log while it is down")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "HOSTLER_"))}
    clocked = ("-m", "tests.faults.clocked")
    stack = Stack(
        folder,
        environment=kept | QUICK,
        replicas=dict.fromkeys(SERVICES, 2),
        launch=lambda n: (*clocked, f"services.{service_of(n)}", str(folder / f"{n}.clock")),
    )
    stack.start()
    journal = Journal(folder / "chaos.log")
    try:
        return _Run(stack, seed, journal).play(seconds)
    finally:
        journal.close()
        stack.stop()


class _Run:
    def __init__(self, stack: Stack, seed: int, journal: Journal) -> None:
        assert isinstance(stack.cloud, LocalCloud)
        cloud = stack.cloud
        self.stack, self.seed, self.journal = stack, seed, journal
        servers = Servers(cloud.url, login(cloud))
        self.mishaps = Mishaps(stack, cloud.url, servers, journal)
        self.book = Book()
        outside = Outside(cloud.url, servers)
        urls, key = stack.base_urls, stack.api_key
        http = httpx.Client(
            base_url=urls[0], headers={"X-API-Key": key}, timeout=30, trust_env=False
        )
        offered = frozenset(http.get("/openapi.json").raise_for_status().json()["paths"])
        self.callers = [
            Caller(
                name,
                urls,
                key,
                dice=random.Random(f"{seed}/{name}"),
                book=self.book,
                journal=journal,
                outside=outside,
                offered=offered,
            )
            for name in (f"caller-{number}" for number in range(1, CALLERS + 1))
        ]
        self.followers = [
            Follower(f"follower-{number}", urls[number % 2 :] + urls[: number % 2], key, journal)
            for number in range(FOLLOWERS)
        ]
        self.seen = Seen(
            http, servers, self.book, self.followers, stack.logs, self.mishaps.poisons, journal
        )

    def play(self, seconds: float) -> Outcome:
        self._until(self._has_catalog, 60, "the catalog is there")
        for thread in [*self.followers, *self.callers]:
            thread.start()
        self.seen.planned = self._suffer(seconds)
        for caller in self.callers:
            caller.over.set()
        self._note("faults end, everything is brought up")
        began = time.monotonic()
        self.mishaps.calm()
        for caller in self.callers:
            caller.join()
        self._until(lambda: not self.seen.open_operations(), SETTLE_SECONDS, "every operation ends")
        settled = time.monotonic() - began
        self._until(self._agree, AGREE_SECONDS, "cloud and read model agree")
        self._until(self._is_told, AGREE_SECONDS, "all is told and audited")
        for follower in self.followers:
            follower.over.set()
        asyncio.run(self.seen.read_kafka(self.stack.kafka))
        outcome = Outcome(self.seed, self.journal, self.book, self.seen, settled_after=settled)
        outcome.differs = judge(self.seen)
        return outcome

    def _suffer(self, seconds: float) -> list[Mishap]:
        """What the plan has for so long, each at its time."""
        mishaps = plan(self.seed, seconds)
        began = time.monotonic()
        with ThreadPoolExecutor(12) as pool:
            for mishap in mishaps:
                time.sleep(max(0.0, mishap.at - (time.monotonic() - began)))
                pool.submit(self.mishaps.befall, mishap)
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))
        return mishaps

    def _until(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until it holds, or for so long: what does not hold is told by the checks."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(httpx.HTTPError, KeyError):
                if true():
                    return self._note(f"{what}")
            time.sleep(0.5)
        return self._note(f"not within {seconds:.0f} s: {what}")

    def _note(self, what: str) -> None:
        self.journal.note("run", what, aloud=True)

    def _has_catalog(self) -> bool:
        items = self.seen.http.get("/v1/images").json()["items"]
        return "tiny-raw" in [image["name"] for image in items]

    def _agree(self) -> bool:
        model = self.seen.present()
        cloud = {vm: (server, state) for vm, server, state in self.seen.in_cloud()}
        return model == cloud

    def _is_told(self) -> bool:
        """The same on two looks: every outbox is empty, every consumer and follower is through."""
        before = self._told()
        time.sleep(3)
        return before == self._told()

    def _told(self) -> tuple[int, ...]:
        audit = self.seen.pages("/v1/audit?limit=1000&type=vm.*&type=operation.*")
        return (len(audit), *(len(follower.heard) for follower in self.followers))
