"""Sync as it runs: it hears of an operation on Kafka, sweeps by itself and says what it sees."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.ids import new_id
from chassis.kafka import BrokerPublisher
from chassis.kafka import broker as kafka_broker
from chassis.wire import encode
from contracts.catalog.events import Flavor
from contracts.message import Body, Message, utc_now
from contracts.operation import events as operation
from contracts.topics import CLOUD_CATALOG, VM_EVENTS, VM_STATE
from contracts.vm.states import VmState
from deploy.local.broker import Broker
from deploy.topics import create_patiently
from drivers.base import Mark
from services.sync.app import build
from services.sync.settings import SyncSettings
from tests.chassis_toys import Toy
from tests.fakes.driver import FakeCloud, FakeDriver

ACCOUNT = f"cloud-{new_id()}"
FLAVOR = Flavor(id="1", name="m1.small", vcpus=1, ram_mb=2048, disk_gb=20)


class Heard(list[Message[Body]]):
    async def __call__(self, session: AsyncSession, message: Message[Body]) -> None:
        if message.account == ACCOUNT and message.source == "hostler/sync":
            self.append(message)

    def of(self, vm_id: UUID) -> list[str]:
        return [m.type for m in self if m.subject == str(vm_id) and m.type != "vm.state.v1"]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def listener(settings: SyncSettings, heard: Heard) -> AsyncGenerator[None]:
    toy = Toy(f"toy_{new_id().hex}", settings)
    for topic in (VM_EVENTS, VM_STATE, CLOUD_CATALOG):
        toy.consume(topic, heard)
    async with toy.running():
        yield


def message(vm_id: UUID, operation_id: UUID, data: Body) -> Message[Body]:
    return Message[Body](
        id=new_id(),
        source="hostler/provisioner",
        time=utc_now(),
        subject=str(vm_id),
        project_id="p1",
        account=ACCOUNT,
        actor="key:alice",
        operation_id=operation_id,
        data=data,
    )


async def test_an_operation_heard_on_kafka_is_answered_by_sweeps(
    kafka: Broker, sqlite_url: str
) -> None:
    settings = SyncSettings(
        database_url=sqlite_url.replace("test.db", "{service}.db"),
        projects={"p1": ACCOUNT},
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        kafka_enable_idempotence=kafka.enable_idempotence,
    )
    await create_patiently(settings)
    cloud, heard = FakeCloud(utc_now), Heard()
    cloud.items = [FLAVOR]
    vm_id, operation_id, command = new_id(), new_id(), "vm.create.v1"
    server_id = cloud.add("web-1", VmState.BUILDING, Mark(vm_id, "p1"))
    service = build(settings, drivers=lambda name: FakeDriver(cloud, name))
    publisher = kafka_broker(settings, "test")
    await publisher.start()
    say = BrokerPublisher(publisher).publish
    try:
        async with listener(settings, heard), service.running():
            await until(lambda: heard.of(vm_id) == ["vm.changed.v1"])
            await until(lambda: any(m.data == FLAVOR for m in heard))
            issued = operation.Issued(command=command, server_id=server_id, called_at=cloud.now)
            await say([encode(message(vm_id, operation_id, issued))])
            await until(lambda: heard.of(vm_id)[1:3] == ["vm.observed.v1"] * 2)
            cloud.change(server_id, state=VmState.ACTIVE)
            await until(lambda: heard.of(vm_id).count("vm.changed.v1") == 2)
            ended = operation.Succeeded(command=command, server_id=server_id)
            await say([encode(message(vm_id, operation_id, ended))])
    finally:
        await publisher.stop()
    assert {m.operation_id for m in heard if m.type == "vm.observed.v1"} == {operation_id}
    assert any(m.type == "vm.state.v1" for m in heard)
