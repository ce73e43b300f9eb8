import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.canary import canary
from chassis.consumer import Batch
from chassis.dead_letters import dead_letter
from chassis.kafka import BrokerPublisher, connection
from chassis.kafka import broker as kafka_broker
from chassis.lag import group_lag
from chassis.outbox import say
from chassis.settings import Settings
from chassis.testing import VirtualClock
from chassis.wire import encode
from contracts import canary as canaries
from contracts.canary import Sent
from contracts.dead_letter import DeadLetter, Replay
from contracts.message import Body, Message
from contracts.topics import CANARY, DEAD_LETTERS, VM_COMMANDS, VM_EVENTS
from deploy.local.broker import Broker
from deploy.topics import create_patiently
from tests.chassis_toys import Toy, changed, command


class Heard(list[Message[Body]]):
    async def __call__(self, session: AsyncSession, message: Message[Body]) -> None:
        self.append(message)


@pytest.fixture
async def settings(kafka: Broker, database_url: str) -> Settings:
    made = Settings(
        database_url=database_url,
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        kafka_enable_idempotence=kafka.enable_idempotence,
    )
    await create_patiently(made)
    return made


@asynccontextmanager
async def toy(settings: Settings, name: str, heard: Heard) -> AsyncGenerator[Toy]:
    service = Toy(name, settings)
    service.consume(VM_COMMANDS, heard)
    service.consume(DEAD_LETTERS, heard)
    async with service.running():
        yield service


async def until(true: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.05)


def of(heard: Heard, vm: str) -> list[Message[Body]]:
    return [message for message in heard if message.subject == vm]


async def test_what_is_said_is_heard_once_and_in_order_per_vm(settings: Settings) -> None:
    heard = Heard()
    async with toy(settings, "toy_order", heard) as service:
        vms = [command().id, command().id]
        messages = [command(vms[n % 2]) for n in range(60)]
        for message in messages:
            async with service.database.session() as session:
                await say(session, message)
        await until(lambda: sum(len(of(heard, str(vm))) for vm in vms) >= len(messages))
        for vm in vms:
            assert of(heard, str(vm)) == [m for m in messages if m.subject == str(vm)]


async def test_poison_on_the_topic_becomes_a_dead_letter_and_the_partition_moves_on(
    settings: Settings,
) -> None:
    heard, vm = Heard(), command().id
    publisher = kafka_broker(settings, "test")
    await publisher.start()
    async with toy(settings, "toy_poison", heard) as service:
        await publisher.publish(b"\xff", VM_COMMANDS.name, key=str(vm).encode())
        after = command(vm)
        async with service.database.session() as session:
            await say(session, after)
        await until(lambda: len(of(heard, str(vm))) >= 2)
    await publisher.stop()
    letters = [m.data for m in of(heard, str(vm)) if isinstance(m.data, DeadLetter)]
    assert [letter.consumer for letter in letters] == ["hostler.toy_poison"]
    assert after in heard


async def test_what_is_said_while_kafka_is_gone_arrives_in_order_once_it_is_back(
    settings: Settings, kafka: Broker
) -> None:
    if not kafka.enable_idempotence:
        pytest.skip("the embedded broker keeps nothing over its restart")
    heard, vm = Heard(), command().id
    async with toy(settings, "toy_outage", heard) as service:
        first = command(vm)
        async with service.database.session() as session:
            await say(session, first)
        await until(lambda: of(heard, str(vm)) == [first])
        kafka.kill()
        later = [command(vm) for _ in range(5)]
        for message in later:
            async with service.database.session() as session:
                await say(session, message)
        await asyncio.sleep(1)
        kafka.start()
        await until(lambda: len(of(heard, str(vm))) >= 6, 90)
        assert of(heard, str(vm)) == [first, *later]


async def test_a_service_that_starts_without_kafka_connects_once_it_is_there(
    settings: Settings, kafka: Broker
) -> None:
    if not kafka.enable_idempotence:
        pytest.skip("the embedded broker keeps nothing over its restart")
    heard, message = Heard(), command()
    kafka.stop()
    try:
        async with toy(settings, "toy_early", heard) as service:
            async with service.database.session() as session:
                await say(session, message)
            await asyncio.sleep(1.5)
            assert not service.connected.is_set()
            kafka.start()
            await until(lambda: message in heard, 90)
    finally:
        kafka.start()


async def test_lag_counts_what_waits_and_is_nothing_once_all_is_taken(
    settings: Settings, kafka: Broker
) -> None:
    if not kafka.enable_idempotence:
        pytest.skip("the embedded broker's first and last offsets are not those of Apache Kafka")
    heard, messages = Heard(), [command() for _ in range(20)]
    publisher = kafka_broker(settings, "test")
    await publisher.start()
    await BrokerPublisher(publisher).publish([encode(message) for message in messages])
    await publisher.stop()
    behind = partial(group_lag, connection(settings), "hostler.toy_lag", VM_COMMANDS)
    assert await behind() >= len(messages)
    async with toy(settings, "toy_lag", heard) as service:
        await until(lambda: messages[-1] in heard)
        async with asyncio.timeout(60):
            while await behind():
                await asyncio.sleep(0.2)
            while await measured(service) != "nothing waits":
                await asyncio.sleep(0.2)


async def measured(service: Toy) -> str:
    try:
        return await service.lag.probe()
    except RuntimeError as error:
        return str(error)


async def test_a_topic_that_is_apart_does_not_wait_for_a_batch_of_another(
    settings: Settings,
) -> None:
    held, go_on = asyncio.Event(), asyncio.Event()
    heard: list[Message[Body]] = []

    async def hold(_session: AsyncSession, _batch: Batch) -> None:
        held.set()
        await go_on.wait()

    async def hear(_session: AsyncSession, batch: Batch) -> None:
        heard.extend(message for message, _ in batch)

    service = Toy("toy_apart", settings)
    service.consume_many(VM_EVENTS, hold)
    service.consume_many(VM_COMMANDS, hear, apart=True)
    asked, happened = command(), changed(command().id, 1)
    async with service.running():
        try:
            async with service.database.session() as session:
                await say(session, happened)
            async with asyncio.timeout(60):
                await held.wait()
            async with service.database.session() as session:
                await say(session, asked)
            await until(lambda: asked in heard)
        finally:
            go_on.set()


async def test_a_consumer_whose_handler_never_returns_makes_its_service_unfit(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.service.MEASURE_SECONDS", 0.2)
    monkeypatch.setattr("chassis.lag.DEAD_AFTER", timedelta(seconds=1))
    held, go_on = asyncio.Event(), asyncio.Event()

    async def hang(_session: AsyncSession, _batch: Batch) -> None:
        held.set()
        await go_on.wait()

    service = Toy("toy_hangs", settings)
    service.consume_many(VM_COMMANDS, hang, apart=True)
    transport = httpx.ASGITransport(service.app())
    client = httpx.AsyncClient(transport=transport, base_url="http://toy")
    async with client, service.running():
        try:
            async with service.database.session() as session:
                await say(session, command())
            async with asyncio.timeout(60):
                await held.wait()
                while (answer := await client.get("/readyz")).json()["checks"]["consumers"]["ok"]:
                    await asyncio.sleep(0.2)
            consumers = answer.json()["checks"]["consumers"]
            assert answer.status_code == 503
            assert "Kafka → hostler.toy_hangs.vm.commands: " in consumers["detail"]
        finally:
            go_on.set()


class Ear(Toy):
    """A service that hears canaries and their answers, and says nothing of it."""

    def __init__(self, name: str, settings: Settings, heard: Heard) -> None:
        super().__init__(name, settings)
        self.consume(CANARY, heard)


async def test_a_canary_is_answered_over_the_way_that_messages_take(settings: Settings) -> None:
    sent, answers = canary("gateway", Sent(), VirtualClock()), Heard()
    ear = Ear("toy_ear", settings, answers)
    async with toy(settings, "toy_canary", Heard()) as service, ear.running():
        async with service.database.session() as session:
            await say(session, sent)
        expected = canaries.Heard(canary=sent.id, service="toy_canary", sent_at=sent.time)
        await until(lambda: expected in [message.data for message in answers])


async def test_a_replayed_letter_comes_back_over_kafka_and_is_handled_once(
    settings: Settings,
) -> None:
    heard, message, after = Heard(), command(), command()
    letter = dead_letter(encode(message), "hostler.toy_again", "a bug")
    replays = [command(None, Replay(letter_id=message.id, letter=letter)) for _ in range(2)]
    async with toy(settings, "toy_again", heard) as service:
        async with service.database.session() as session:
            await say(session, *replays, after)
        await until(lambda: message in heard and after in heard)
    assert heard.count(message) == 1
