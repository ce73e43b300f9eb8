"""A connection to Kafka that broke is an outage on uvloop, too, and not the end of a consumer."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvloop
from aiokafka import conn
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError
from aiokafka.protocol.admin import AlterConfigsRequest

from chassis import kafka
from chassis.transport import Connection

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Breaking(Connection):
    """Its transport is gone when it sends its first request."""

    async def _do_version_lookup(self) -> None:
        assert self._writer is not None
        self._writer.transport.abort()
        await asyncio.sleep(0)
        await super()._do_version_lookup()


async def _connect() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(30):
            await Breaking("127.0.0.1", port).connect()


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
async def test_a_request_over_a_transport_that_is_gone_is_an_outage(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    def run() -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(_connect())

    with pytest.raises(KafkaConnectionError):
        await asyncio.to_thread(run)


async def test_a_request_that_a_broker_does_not_know_says_nothing_of_the_connection() -> None:
    connection = Connection("127.0.0.1", 1)
    cast("Any", connection)._writer = object()  # as if it were connected
    with pytest.raises(IncompatibleBrokerVersion):
        connection.send(AlterConfigsRequest([]))


def test_whatever_a_service_connects_with_is_of_this_kind() -> None:
    assert kafka.Connection is conn.AIOKafkaConnection
