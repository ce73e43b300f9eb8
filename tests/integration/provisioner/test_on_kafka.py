"""The provisioner as it runs: commands and sync's words come over Kafka, its own go back."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.ids import new_id
from chassis.kafka import BrokerPublisher
from chassis.kafka import broker as kafka_broker
from chassis.wire import encode
from contracts.message import Body, Message, utc_now
from contracts.topics import VM_EVENTS
from contracts.vm.commands import Create, Stop
from contracts.vm.events import Observed
from deploy.local.broker import Broker
from deploy.topics import create_patiently
from services.provisioner.app import Provisioner, build
from services.provisioner.settings import ProvisionerSettings
from tests.chassis_toys import Toy
from tests.fakes.driver import FakeCloud, FakeDriver

Say = Callable[[UUID, Body], Awaitable[None]]
CREATE = Create(name="web-1", flavor="m1", image="debian")


class Heard(list[Message[Body]]):
    async def __call__(self, session: AsyncSession, message: Message[Body]) -> None:
        if message.source == "hostler/provisioner":
            self.append(message)

    def of(self, vm_id: UUID) -> list[str]:
        return [message.type for message in self if message.subject == str(vm_id)]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.05)


@pytest.fixture
async def settings(kafka: Broker, database_url: str) -> ProvisionerSettings:
    made = ProvisionerSettings(
        database_url=database_url.replace("test.db", "{service}.db"),
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        kafka_enable_idempotence=kafka.enable_idempotence,
        worker_drain=timedelta(0),
        settle=timedelta(milliseconds=100),
    )
    await create_patiently(made)
    return made


@asynccontextmanager
async def talking(settings: ProvisionerSettings, heard: Heard) -> AsyncGenerator[Say]:
    """Says messages, twice each, and hears what the provisioner says."""
    toy = Toy(f"toy_{new_id().hex}", settings)
    toy.consume(VM_EVENTS, heard)
    publisher = kafka_broker(settings, "test")
    await publisher.start()

    async def say(vm_id: UUID, data: Body) -> None:
        message = Message[Body](
            id=new_id(),
            source="test",
            time=utc_now(),
            subject=str(vm_id),
            project_id="p1",
            account="demo",
            actor="key:ann",
            data=data,
        )
        await BrokerPublisher(publisher).publish([encode(message)] * 2)

    try:
        async with toy.running():
            yield say
    finally:
        await publisher.stop()


def provisioner(settings: ProvisionerSettings, cloud: FakeCloud) -> Provisioner:
    return build(settings, drivers=lambda name: FakeDriver(cloud, name))


async def test_a_command_on_kafka_ends_with_what_sync_says_on_kafka(
    settings: ProvisionerSettings,
) -> None:
    cloud, heard, vm_id = FakeCloud(utc_now), Heard(), new_id()
    async with talking(settings, heard) as say, provisioner(settings, cloud).running():
        await say(vm_id, CREATE)
        await until(lambda: heard.of(vm_id) == ["operation.started.v1", "operation.issued.v1"])
        cloud.settle()
        vm = cloud.alive()[0].snapshot
        later = cloud.now + timedelta(seconds=1)
        await say(vm_id, Observed(version=1, observed_at=later, vm=vm))
        await until(lambda: heard.of(vm_id)[2:] == ["operation.succeeded.v1", "vm.created.v1"])
    assert cloud.calls == ["create"]


async def test_a_service_that_leaves_in_the_middle_of_a_call_is_followed_by_one_that_adopts(
    settings: ProvisionerSettings,
) -> None:
    cloud, heard, vm_id, other = FakeCloud(utc_now), Heard(), new_id(), new_id()
    answered = cloud.gates["create"] = asyncio.Event()
    async with talking(settings, heard) as say:
        async with provisioner(settings, cloud).running():
            await say(vm_id, CREATE)
            await say(vm_id, Stop())
            await cloud.arrived["create"].wait()
        answered.set()
        async with provisioner(settings, cloud).running():
            await until(lambda: "operation.issued.v1" in heard.of(vm_id))
            await say(other, CREATE)
            await until(lambda: "operation.issued.v1" in heard.of(other))
    assert len(cloud.alive()) == 2
    assert cloud.calls == ["create", "find", "create", "find", "create"]
    assert heard.of(vm_id).count("operation.issued.v1") == 1, "the stop waits for the create"
