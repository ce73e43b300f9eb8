"""A gateway on a real Kafka, served over a real socket: commands go out, events come in, SSE flows."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import uvicorn
from aiokafka import AIOKafkaConsumer
from pydantic import SecretStr

from chassis.kafka import BrokerPublisher
from chassis.kafka import broker as kafka_broker
from chassis.testing import hear
from chassis.wire import encode
from contracts.message import Body, Message
from contracts.vm.states import VmState
from deploy.local.broker import Broker
from deploy.topics import create_patiently
from services.gateway.app import build
from services.gateway.context import Gateway
from services.gateway.settings import GatewaySettings
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, CREATE, changed, going, told


def given(url: str, bootstrap: str, *, idempotent: bool) -> GatewaySettings:
    return GatewaySettings(
        database_url=url,
        internal_secret=SecretStr("s" * 32),
        first_api_key=SecretStr(ADMIN_KEY),
        kafka_bootstrap_servers=bootstrap,
        kafka_enable_idempotence=idempotent,
        http_port=0,
    )


@asynccontextmanager
async def serving(settings: GatewaySettings) -> AsyncGenerator[tuple[Gateway, httpx.AsyncClient]]:
    """A gateway on a free port, until it has drained."""
    gateway = build(settings, show=lambda _: None)
    config = uvicorn.Config(gateway.app, port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    running = asyncio.ensure_future(server.serve())
    await until(lambda: started(server))
    port = server.servers[0].sockets[0].getsockname()[1]
    client = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": ADMIN_KEY}, timeout=60
    )
    async with client:
        await until(lambda: ready(client))
        yield gateway, client
    gateway.service.stopping.set()
    server.should_exit = True
    await running


async def started(server: uvicorn.Server) -> bool:
    return server.started


async def ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(90):
        while not await true():
            await asyncio.sleep(0.05)


async def publish(settings: GatewaySettings, *messages: Message[Body]) -> None:
    made = kafka_broker(settings, "test")
    await made.start()
    await BrokerPublisher(made).publish([encode(message) for message in messages])
    await made.stop()


async def commands(bootstrap: str, vm_id: str) -> list[str]:
    """The first command on a VM that stands on Kafka, as [type, id]."""
    consumer: Any = AIOKafkaConsumer(
        "vm.commands", bootstrap_servers=bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            while True:
                record = await consumer.getone()
                headers = dict(record.headers)
                if record.key == vm_id.encode():
                    return [headers["ce_type"].decode(), headers["ce_id"].decode()]
    finally:
        await consumer.stop()


async def sse(client: httpx.AsyncClient, query: str) -> AsyncIterator[dict[str, Any]]:
    async with client.stream("GET", f"/v1/events?{query}") as answer:
        message: dict[str, Any] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name in {"id", "event", "data"}:
                message[name] = value
            elif not line and "id" in message:
                yield message
                message = {}


async def test_a_create_goes_out_over_kafka_and_its_story_comes_back(
    kafka: Broker, database_url: str
) -> None:
    settings = given(database_url, kafka.bootstrap_servers, idempotent=kafka.enable_idempotence)
    await create_patiently(settings)
    items = [told(item, subject="simulator") for item in CATALOG]
    async with serving(settings) as (_, client):
        await publish(settings, *items)

        async def swept() -> bool:
            keypairs = (await client.get("/v1/keypairs")).json()["items"]
            images = (await client.get("/v1/images")).json()["items"]
            flavors = (await client.get("/v1/flavors")).json()["items"]
            return bool(keypairs and images and flavors)

        await until(swept)
        asked = await client.post("/v1/vms", json=CREATE)
        operation = asked.json()
        said = await commands(kafka.bootstrap_servers, operation["vm_id"])
        assert said == ["vm.create.v1", operation["id"]]
        begun, issued, succeeded = going(operation)
        seen = changed(operation["vm_id"], 1, VmState.ACTIVE)
        following = asyncio.ensure_future(
            first(sse(client, f"vm_id={operation['vm_id']}&last_event_id=0"), 4)
        )
        wait = client.get(f"/v1/operations/{operation['id']}", headers={"Prefer": "wait=50"})
        waiting = asyncio.ensure_future(wait)
        await publish(settings, begun, issued, seen, succeeded)
        assert (await waiting).json()["state"] == "succeeded"
        told_types = [message["event"] for message in await following]
    assert told_types == [
        "operation.started.v1",
        "operation.issued.v1",
        "vm.changed.v1",
        "operation.succeeded.v1",
    ]


async def first(messages: AsyncIterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        async for message in messages:
            if message["event"] == "hostler.reset":
                continue
            assert json.loads(message["data"])["type"] == message["event"]
            found.append(message)
            if len(found) == count:
                break
    return found


async def test_without_kafka_a_command_is_still_accepted_and_kept_for_later(
    sqlite_url: str,
) -> None:
    settings = given(sqlite_url, "127.0.0.1:1", idempotent=True)
    no_canaries = settings.model_copy(update={"canary_every": timedelta()})
    async with serving(no_canaries) as (gateway, client):
        readiness = (await client.get("/readyz")).json()
        assert (readiness["status"], readiness["checks"]["kafka"]["ok"]) == ("ok", False)
        for item in CATALOG:
            await hear(gateway.service, told(item, subject="simulator"))
        answer = await client.post("/v1/vms", json=CREATE)
        assert answer.status_code == 202
        pending = (await client.get("/metrics")).text
    assert 'hostler_outbox_pending{service="gateway"} 1.0' in pending
