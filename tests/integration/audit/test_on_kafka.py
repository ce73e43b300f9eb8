import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select

from chassis.database import Database
from chassis.ids import new_id
from chassis.kafka import BrokerPublisher
from chassis.kafka import broker as kafka_broker
from chassis.wire import encode
from contracts.message import Body, Message
from deploy.local.broker import Broker
from deploy.topics import create_patiently
from services.audit.app import Audit, build
from services.audit.settings import AuditSettings
from services.audit.tables import LEDGER
from tests.unit.audit.world import KEY, SECRET, message, verify


def started(kafka: Broker, url: str) -> Audit:
    return build(
        AuditSettings(
            database_url=url,
            internal_secret=SecretStr(SECRET),
            signing_key=SecretStr(KEY),
            kafka_bootstrap_servers=kafka.bootstrap_servers,
            kafka_enable_idempotence=kafka.enable_idempotence,
            kafka_batch=50,
        )
    )


async def publish(audit: Audit, told: list[Message[Body]]) -> None:
    made = kafka_broker(audit.service.settings, "test")
    await made.start()
    await BrokerPublisher(made).publish([encode(m) for m in told])
    await made.stop()


async def until(true: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    async with asyncio.timeout(90):
        while not await true():
            await asyncio.sleep(0.1)


async def kept(database: Database, told: list[Message[Body]]) -> list[Any]:
    wanted = {m.id for m in told}
    async with database.reading() as session:
        rows = (await session.execute(select(LEDGER).order_by(LEDGER.c.id))).all()
    return [row for row in rows if row.message_id in wanted]


async def test_two_audits_one_of_which_ends_keep_everything_once_and_in_order_per_vm(
    kafka: Broker, database_url: str
) -> None:
    first, second = started(kafka, database_url), started(kafka, database_url)
    await create_patiently(first.service.settings)
    vms = [new_id() for _ in range(20)]
    told = [message(vm=vms[n % 20]) for n in range(600)]
    database = second.service.database

    async def all_kept() -> bool:
        return len(await kept(database, told)) >= len(told)

    async with second.service.running():
        async with first.service.running():
            await publish(first, told[:300])
        await publish(second, [*told[250:300], *told[300:]])
        await until(all_kept)
        rows = await kept(database, told)
        verdict = await verify(second)
    assert len(rows) == len(told)
    for vm in vms:
        assert [r.message_id for r in rows if r.vm_id == vm] == [
            m.id for m in told if m.subject == str(vm)
        ]
    assert verdict.valid
    assert len({row.chain for row in rows}) > 1
