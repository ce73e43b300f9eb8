"""Notifications over a real RabbitMQ, where one is given: they are heard, also after its queue went.

HOSTLER_TEST_AMQP_URL names it (`amqp://user:password@host:5672/`); a control plane's own will do.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractExchange
from aio_pika.exceptions import ChannelNotFoundEntity
from pydantic import SecretStr

from chassis.migrations import migrate
from services.sync.notifications import EXCHANGE, Notifications
from tests.unit.sync.test_notifications import OURS, THEIRS, notification
from tests.unit.sync.world import ACCOUNT, SyncWorld, opened

URL = os.environ.get("HOSTLER_TEST_AMQP_URL", "")
QUEUE = f"hostler.sync.{ACCOUNT}"
pytestmark = pytest.mark.skipif(not URL, reason="HOSTLER_TEST_AMQP_URL names no RabbitMQ")


@dataclass
class Nova:
    """Who speaks on the bus, and the listener with the hints that it gave."""

    channel: AbstractChannel
    exchange: AbstractExchange
    notifications: Notifications
    hints: list[int]

    async def say(self, server_id: str, tenant: str) -> None:
        body = notification(server_id, tenant, event_type="instance.update")
        message = aio_pika.Message(body, content_type="application/json")
        await self.exchange.publish(message, "versioned_notifications.info")


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


async def exchange_of(connection: aio_pika.abc.AbstractConnection) -> AbstractExchange:
    """Nova's exchange as it is, or one of the kind that it makes."""
    with suppress(ChannelNotFoundEntity):
        return await (await connection.channel()).get_exchange(EXCHANGE, ensure=True)
    return await (await connection.channel()).declare_exchange(EXCHANGE, "topic")


@pytest.fixture
async def nova(tmp_path: Path) -> AsyncIterator[Nova]:
    world = SyncWorld(f"sqlite+aiosqlite:///{tmp_path / 'sync.db'}")
    await migrate(world.service.database)
    async with opened(world), await aio_pika.connect(URL) as connection:
        exchange, channel = await exchange_of(connection), await connection.channel()
        await channel.queue_delete(QUEUE)
        world.sweeper.leads = True
        heard = Notifications(world.sweeper, SecretStr(URL))
        hints: list[int] = []
        heard.hint = lambda: hints.append(len(hints))
        listening = asyncio.create_task(heard.run())
        try:
            await until(lambda: heard.listening)
            yield Nova(channel, exchange, heard, hints)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await channel.queue_delete(QUEUE)


async def test_what_nova_says_of_our_tenant_is_a_hint_and_of_others_is_none(nova: Nova) -> None:
    assert len(nova.hints) == 1, "one for what was said while nobody listened"
    for _ in range(50):
        await nova.say(str(uuid4()), THEIRS)
    await asyncio.sleep(1)
    assert len(nova.hints) == 1
    await nova.say(str(uuid4()), OURS)
    await until(lambda: len(nova.hints) == 2)


async def test_a_listener_whose_queue_was_deleted_hears_again(nova: Nova) -> None:
    await nova.channel.queue_delete(QUEUE)
    await until(lambda: not nova.notifications.listening)
    with pytest.raises(ConnectionError, match="ended the consumer"):
        await nova.notifications.probe()
    await until(lambda: nova.notifications.listening)
    assert len(nova.hints) == 2, "one for what was said meanwhile"
    await nova.say(str(uuid4()), OURS)
    await until(lambda: len(nova.hints) == 3)
