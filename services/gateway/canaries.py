"""Canaries: sent through the outbox, answered by every service; which stretch of the way is broken."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from aiokafka.errors import KafkaError
from prometheus_client import Gauge
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.canary import answer, canary
from chassis.consumer import Batch, group
from chassis.database import Database, changed, insert
from chassis.leases import Clock
from chassis.outbox import pending, say
from contracts.canary import Heard, Sent
from contracts.topics import CANARY, Topic
from services.gateway.tables import CANARIES

AGE = Gauge("hostler_canary_age_seconds", "Age of the last canary that came by.", ["station"])
OUTBOX = "outbox"
"""The station where a canary begins; the others are services."""
LOOK_SECONDS = 5.0
GroupLag = Callable[[str, Topic], Awaitable[int]]


@dataclass(frozen=True)
class Seen:
    """What is known of the way at one moment."""

    now: datetime
    ages: Mapping[str, timedelta | None]
    """How old the last canary of each station is; None: none ever came by."""
    waiting: int
    waiting_since: datetime | None
    kafka: str
    """Why Kafka does not answer; empty if it does."""
    behind: Mapping[str, int]
    """How many records of the topic `canary` each overdue service has not taken."""


def broken(seen: Seen, patience: timedelta) -> list[str]:
    """The stretches that are broken, each a sentence; none while all canaries are on time.

    The first broken stretch is told alone: what lies behind it cannot be judged.
    """
    overdue = [name for name, age in seen.ages.items() if age is None or age > patience]
    if not overdue:
        return []
    if seen.waiting_since is not None and seen.now - seen.waiting_since > patience:
        since = _seconds(seen.now - seen.waiting_since)
        why = f"; Kafka: {seen.kafka}" if seen.kafka else ""
        return [f"gateway's outbox → Kafka: {seen.waiting} messages wait since {since}{why}"]
    if OUTBOX in overdue:
        return [f"gateway: sent no canary for {_age(seen.ages[OUTBOX])}"]
    if "gateway" in overdue:
        return [_stretch("gateway", seen)]
    return [_stretch(name, seen) for name in overdue]


def _stretch(name: str, seen: Seen) -> str:
    """On which side of a service the way ends: before it if there is something left to take."""
    age, behind = _age(seen.ages[name]), seen.behind.get(name)
    if behind is None:
        return f"Kafka → {name} → Kafka: heard nothing for {age}, lag unknown"
    if behind or name == "gateway":
        return f"Kafka → {name}: heard nothing for {age}, lag {behind}"
    return f"{name} → Kafka: it takes its messages and has said nothing for {age}"


def _age(age: timedelta | None) -> str:
    return _seconds(age) if age is not None else "ever"


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():.0f} s"


class Canaries:
    """Sends canaries and watches for their coming by. Runs in every replica; one sends at a time."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        every: timedelta,
        patience: timedelta,
        *,
        probe_kafka: Callable[[], Awaitable[str]],
        group_lag: GroupLag,
    ) -> None:
        self.database = database
        self.clock = clock
        self.every = every
        self.patience = patience
        self._probe_kafka = probe_kafka
        self._group_lag = group_lag
        self._answer = answer("gateway", clock)
        self._sent_at: dict[str, datetime] = {}
        self._kafka = ""
        self._behind: dict[str, int] = {}

    async def run(self) -> None:
        """Send and look for ever; nothing at all if `every` is 0."""
        if not self.every:
            await asyncio.Event().wait()
        for station in (OUTBOX, *CANARY.consumers):
            AGE.labels(station).set_function(lambda s=station: self._seconds_since(s))
        while True:
            await self.send()
            await self.look()
            await asyncio.sleep(min(LOOK_SECONDS, self.every.total_seconds()))

    async def send(self) -> bool:
        """Let one go if it is time; whether it was, and no other replica did."""
        async with self.database.reading() as session:
            last = (await self._stations(session)).get(OUTBOX)
        now = self.clock()
        if last is not None and last > now - self.every:
            return False
        async with self.database.session() as session:
            if await self._pass(session, OUTBOX, now, unless_after=now - self.every):
                await say(session, canary("gateway", Sent(), self.clock))
                return True
        return False

    async def on_canary(self, session: AsyncSession, batch: Batch) -> None:
        """Keep what came by, and answer as every service does."""
        newest: dict[str, datetime] = {}
        for message, _ in batch:
            match message.data:
                case Sent():
                    station, sent_at = "gateway", message.time
                case Heard() as heard:
                    station, sent_at = heard.service, heard.sent_at
                case _:
                    continue
            newest[station] = max(sent_at, newest.get(station, sent_at))
        for station, sent_at in sorted(newest.items()):
            await self._pass(session, station, sent_at)
        await self._answer(session, batch)

    async def look(self) -> None:
        """Ask Kafka about the services that are overdue, so that a probe need not."""
        async with self.database.reading() as session:
            self._sent_at = await self._stations(session)
        overdue = [n for n, age in self.ages().items() if age is None or age > self.patience]
        self._kafka = await self._why_not_kafka() if overdue else ""
        self._behind = {}
        for service in overdue if not self._kafka else ():
            if service != OUTBOX:
                await self._ask_lag(service)

    async def probe(self) -> str:
        """How old the last canary of each service is; raises RuntimeError where one is overdue."""
        if not self.every:
            return "off"
        async with self.database.reading() as session:
            self._sent_at = await self._stations(session)
            waiting, since = await pending(session)
        ages = self.ages()
        seen = Seen(self.clock(), ages, waiting, since, self._kafka, self._behind)
        if sentences := broken(seen, self.patience):
            raise RuntimeError("; ".join(sentences))
        return ", ".join(f"{name} {_age(age)}" for name, age in ages.items() if name != OUTBOX)

    async def _why_not_kafka(self) -> str:
        try:
            await self._probe_kafka()
        except (OSError, KafkaError) as error:
            return str(error) or type(error).__name__
        return ""

    async def _ask_lag(self, service: str) -> None:
        try:
            self._behind[service] = await self._group_lag(group(service), CANARY)
        except (OSError, KafkaError):
            self._behind.pop(service, None)

    def ages(self) -> dict[str, timedelta | None]:
        """How old each station's last canary is, as of the last look."""
        now = self.clock()
        sent_at = {name: self._sent_at.get(name) for name in (OUTBOX, *CANARY.consumers)}
        return {name: now - at if at else None for name, at in sent_at.items()}

    def _seconds_since(self, station: str) -> float:
        age = self.ages()[station]
        return age.total_seconds() if age is not None else float("inf")

    async def _stations(self, session: AsyncSession) -> dict[str, datetime]:
        rows = (await session.execute(select(CANARIES.c.station, CANARIES.c.sent_at))).tuples()
        return dict(rows.all())

    async def _pass(
        self,
        session: AsyncSession,
        station: str,
        sent_at: datetime,
        *,
        unless_after: datetime | None = None,
    ) -> bool:
        """Note that a canary came by, unless a newer one did; whether it was noted."""
        values = {"sent_at": sent_at, "passed_at": self.clock()}
        row = insert(session, CANARIES).values(station=station, **values)
        older = CANARIES.c.sent_at <= (unless_after or sent_at)
        row = row.on_conflict_do_update(index_elements=["station"], set_=values, where=older)
        return await changed(session, row) == 1
