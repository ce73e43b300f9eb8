"""A canary goes the whole way every few seconds; when one is overdue, the broken stretch is named."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from aiokafka.errors import KafkaConnectionError

from chassis.canary import canary
from chassis.database import Database
from chassis.testing import VirtualClock, hear, said
from contracts.canary import Heard, Sent
from contracts.topics import CANARY, Topic
from services.gateway.canaries import OUTBOX, Canaries, Seen, broken
from services.gateway.context import Gateway
from tests.unit.gateway.conftest import NewGateway

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SOON, LATE = timedelta(seconds=5), timedelta(seconds=41)
PATIENCE = timedelta(seconds=40)


class Kafka:
    """What a gateway can ask of Kafka."""

    def __init__(self) -> None:
        self.gone = False
        self.lags: dict[str, int] = {}

    async def probe(self) -> str:
        if self.gone:
            raise ConnectionError("no connection")
        return "there"

    async def group_lag(self, group: str, topic: Topic) -> int:
        assert topic is CANARY
        if group not in self.lags:
            raise KafkaConnectionError
        return self.lags[group]


def canaries(database: Database, clock: VirtualClock, kafka: Kafka) -> Canaries:
    return Canaries(
        database,
        clock,
        timedelta(seconds=10),
        PATIENCE,
        probe_kafka=kafka.probe,
        group_lag=kafka.group_lag,
    )


def seen(
    ages: Mapping[str, timedelta | None],
    *,
    waiting: int = 0,
    waiting_since: datetime | None = None,
    kafka: str = "",
    behind: Mapping[str, int] | None = None,
) -> Seen:
    all_ages = dict.fromkeys((OUTBOX, *CANARY.consumers), SOON) | dict(ages)
    return Seen(NOW, all_ages, waiting, waiting_since, kafka, behind or {})


@pytest.mark.parametrize(
    ("state", "sentences"),
    [
        (seen({}), []),
        (
            seen(
                dict.fromkeys(CANARY.consumers, LATE),
                waiting=3,
                waiting_since=NOW - LATE,
                kafka="no connection",
            ),
            ["gateway's outbox → Kafka: 3 messages wait since 41 s; Kafka: no connection"],
        ),
        (
            seen(dict.fromkeys((OUTBOX, *CANARY.consumers), LATE)),
            ["gateway: sent no canary for 41 s"],
        ),
        (
            seen(dict.fromkeys(CANARY.consumers, LATE), behind={"gateway": 0}),
            ["Kafka → gateway: heard nothing for 41 s, lag 0"],
        ),
        (
            seen({"provisioner": LATE}, behind={"provisioner": 120}),
            ["Kafka → provisioner: heard nothing for 41 s, lag 120"],
        ),
        (
            seen({"sync": LATE}, behind={"sync": 0}),
            ["sync → Kafka: it takes its messages and has said nothing for 41 s"],
        ),
        (
            seen({"audit": None}),
            ["Kafka → audit → Kafka: heard nothing for ever, lag unknown"],
        ),
    ],
)
def test_the_broken_stretch_is_named(state: Seen, sentences: list[str]) -> None:
    assert broken(state, PATIENCE) == sentences


async def test_of_all_replicas_one_sends_and_again_when_it_is_time(
    new_gateway: NewGateway, clock: VirtualClock
) -> None:
    gateway = await new_gateway()
    here, there = (canaries(gateway.database, clock, Kafka()) for _ in range(2))
    assert [await here.send(), await there.send(), await here.send()] == [True, False, False]
    clock.advance(seconds=10)
    assert [await there.send(), await here.send()] == [True, False]
    assert [type(message.data) for message in await said(gateway.database)] == [Sent, Sent]


async def test_every_service_that_hears_one_answers_it_and_the_gateway_knows(
    gateway: Gateway, clock: VirtualClock
) -> None:
    made = canaries(gateway.database, clock, Kafka())
    await made.send()
    (sent,) = await said(gateway.database)
    await hear(gateway.service, sent)
    (heard,) = await said(gateway.database)
    assert heard.data == Heard(canary=sent.id, service="gateway", sent_at=sent.time)
    for service in ("provisioner", "sync", "audit"):
        answered = Heard(canary=sent.id, service=service, sent_at=sent.time)
        await hear(gateway.service, canary(service, answered, clock))
    clock.advance(seconds=7)
    assert await made.probe() == "gateway 7 s, provisioner 7 s, sync 7 s, audit 7 s"


async def test_an_old_answer_that_comes_late_changes_nothing(
    gateway: Gateway, clock: VirtualClock
) -> None:
    made = canaries(gateway.database, clock, Kafka())
    old = canary("gateway", Sent(), clock)
    clock.advance(seconds=60)
    await hear(gateway.service, canary("gateway", Sent(), clock), old)
    await made.look()
    assert made.ages()["gateway"] == timedelta(0)


async def test_a_service_that_does_not_answer_is_asked_for_at_kafka(
    gateway: Gateway, clock: VirtualClock
) -> None:
    kafka = Kafka()
    made = canaries(gateway.database, clock, kafka)
    for service in ("gateway", "sync", "audit"):
        await hear(gateway.service, canary(service, heard_now(service, clock), clock))
    await made.send()
    kafka.lags["hostler.provisioner"] = 4
    await made.look()
    with pytest.raises(RuntimeError, match="Kafka → provisioner: heard nothing for ever, lag 4"):
        await made.probe()


async def test_kafka_that_is_gone_is_told_with_what_waits(
    gateway: Gateway, clock: VirtualClock
) -> None:
    kafka = Kafka()
    made = canaries(gateway.database, clock, kafka)
    await made.send()
    clock.advance(seconds=60)
    kafka.gone = True
    await made.look()
    with pytest.raises(RuntimeError, match=r"outbox → Kafka: 1 messages .* Kafka: no connection"):
        await made.probe()


async def test_canaries_are_shown_in_readyz_and_can_be_switched_off(
    new_gateway: NewGateway, clock: VirtualClock
) -> None:
    gateway = await new_gateway()
    transport = httpx.ASGITransport(gateway.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        checks = (await client.get("/readyz")).json()["checks"]
    assert not checks["canary"]["ok"]
    off = Canaries(
        gateway.database,
        clock,
        timedelta(0),
        PATIENCE,
        probe_kafka=Kafka().probe,
        group_lag=Kafka().group_lag,
    )
    assert await off.probe() == "off"


def heard_now(service: str, clock: VirtualClock) -> Heard:
    return Heard(canary=canary("gateway", Sent(), clock).id, service=service, sent_at=clock())
