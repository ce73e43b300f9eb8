"""The read model told anew from a real Kafka and from a real audit: both tell the same rows."""

import asyncio
from typing import Any

import httpx
from pydantic import SecretStr

from chassis.ids import new_id
from chassis.kafka import BrokerPublisher
from chassis.kafka import broker as kafka_broker
from chassis.wire import encode
from contracts.message import Body, Message
from contracts.operation.events import Issued, Started, Succeeded
from contracts.vm.commands import Create
from contracts.vm.states import VmState
from deploy.local.broker import Broker
from deploy.topics import create_patiently
from services.audit.app import Audit as AuditService
from services.audit.app import build as build_audit
from services.audit.settings import AuditSettings
from services.audit.tables import LEDGER
from services.gateway.forwarding import Audit
from services.gateway.rebuild import from_audit, from_kafka, retell
from services.gateway.retelling import Retold
from services.gateway.settings import GatewaySettings
from tests.unit.audit.world import KEY, SECRET
from tests.unit.gateway.world import NOW, changed, told

CREATE = "vm.create.v1"


def life(number: int) -> list[Message[Body]]:
    vm_id = str(new_id())
    create = Create(name=f"web-{number}", flavor="f-1", image="i-1", user_data="czNjcmV0")
    command = told(create, subject=vm_id)
    steps = (
        Started(command=CREATE, attempt=1),
        Issued(command=CREATE, server_id="s-1", called_at=NOW),
        Succeeded(command=CREATE, server_id="s-1"),
    )
    started, issued, succeeded = [
        told(step, subject=vm_id, operation_id=command.id) for step in steps
    ]
    seen = changed(vm_id, 1, VmState.ACTIVE, name=f"web-{number}")
    return [command, started, issued, seen, succeeded]


def shown(model: Retold) -> dict[str, Any]:
    held = {**model.vms, **model.operations}
    return {str(each): vars(row.row) for each, row in held.items()}


async def until_kept(audit: AuditService, count: int) -> None:
    async with asyncio.timeout(90):
        while True:
            async with audit.service.database.reading() as session:
                if len((await session.execute(LEDGER.select())).all()) >= count:
                    return
            await asyncio.sleep(0.1)


async def test_kafka_and_audit_tell_the_same_vms_and_operations(
    kafka: Broker, sqlite_url: str
) -> None:
    shared: dict[str, Any] = {
        "database_url": sqlite_url,
        "internal_secret": SecretStr(SECRET),
        "kafka_bootstrap_servers": kafka.bootstrap_servers,
        "kafka_enable_idempotence": kafka.enable_idempotence,
    }
    settings = GatewaySettings.model_validate(shared)
    await create_patiently(settings)
    publisher = kafka_broker(settings, "test")
    await publisher.start()
    messages = [message for number in range(20) for message in life(number)]
    await BrokerPublisher(publisher).publish([encode(message) for message in messages])
    await publisher.publish(b"\xff", "vm.events", key=b"poison")
    await publisher.stop()
    audit = build_audit(AuditSettings.model_validate(shared | {"signing_key": SecretStr(KEY)}))
    asked = Audit("http://audit", settings.audit_timeout, httpx.ASGITransport(audit.app))
    async with audit.service.running():
        await until_kept(audit, len(messages))
        by_audit = await retell(from_audit(settings, asked))
    by_kafka = await retell(from_kafka(settings))
    assert len(by_kafka.vms) == len(by_kafka.operations) == 20
    assert {held.row.state for held in by_kafka.vms.values()} == {"active"}
    assert shown(by_audit) == shown(by_kafka)
