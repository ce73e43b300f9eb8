"""A gateway behind a real socket, and requests written by hand."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn

from chassis.service import server_of
from services.gateway.context import Gateway

PATIENCE = 20.0


@dataclass(frozen=True)
class Served:
    """Where a gateway listens."""

    port: int

    async def say(self, *parts: bytes) -> bytes:
        """Write the parts on one connection; all that is answered until it is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(PATIENCE):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def served(gateway: Gateway, port: int = 0) -> AsyncGenerator[Served]:
    """Serve a gateway's HTTP side alone, as its process would."""
    server = server_of(gateway.service, gateway.app)
    server.config.lifespan = "off"
    with socket.create_server(("127.0.0.1", port)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            await _until_started(server, serving)
            yield Served(listening.getsockname()[1])
        finally:
            server.should_exit = True
            await serving
            gateway.service.stopping.clear()


async def _until_started(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)


def request(target: str = "/v1", *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request that closes its connection; `fields` as they are written, without line ends."""
    lines = [f"{method} {target} HTTP/1.1", "Host: gateway", "Connection: close", *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def status(answer: bytes) -> int:
    """The status of the first answer; 0: none came."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
