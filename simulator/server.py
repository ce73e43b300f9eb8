"""The simulator as a process: one socket, a clouds.yaml for its clients, a snapshot of its memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from simulator.app import build
from simulator.identity.tokens import PASSWORD
from simulator.snapshot import Snapshot
from simulator.world import World

_CLOUD = """\
  {cloud}:
    region_name: RegionOne
    identity_api_version: 3
    interface: public
    auth:
      auth_url: {url}/identity/v3
      username: {name}
      password: {password}
      project_name: {name}
      user_domain_name: Default
      project_domain_name: Default
"""


def clouds_yaml(world: World, url: str) -> str:
    """A clouds.yaml with an entry per project: `simulator` is the first, the others `simulator-NAME`."""
    entries: list[str] = []
    for i, project in enumerate(world.seed.projects):
        cloud = "simulator" if i == 0 else f"simulator-{project.name}"
        entries.append(_CLOUD.format(cloud=cloud, url=url, name=project.name, password=PASSWORD))
    return "clouds:\n" + "".join(entries)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever sees it sees all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    os.replace(draft, path)  # noqa: PTH105  (atomic on purpose)


class _Protocol(HttpToolsProtocol):
    """Tells the app the connection of a request, so that a fault can cut it."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["state"]["connection"] = self.transport  # pyright: ignore[reportTypedDictNotRequiredAccess] - uvicorn always sets it


class _Server(uvicorn.Server):
    """Ends at the first SIGTERM or SIGINT with exit code 0, and says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Uvicorn would raise the signal again at the end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _end(self) -> None:
        self.should_exit = True


async def _keep(world: World, snapshot: Snapshot, ended: asyncio.Event) -> None:
    """Write the snapshot every second in which something changed; a full disk is told, not fatal.

    A large one is written less often, so that it takes a tenth of the time at most. It is asked to
    end, never cancelled: a cancelled write would go on in its thread.
    """
    pause = 1.0
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await ended.wait()
        world.advance()
        if not snapshot.dirty:
            continue
        begun = time.monotonic()
        try:
            await asyncio.to_thread(snapshot.write, snapshot.encode())
            pause = max(1.0, 10 * (time.monotonic() - begun))
        except OSError as error:
            snapshot.lost = True
            sys.stderr.write(f"simulator: the snapshot could not be written: {error}\n")


async def serve(
    world: World,
    bound: socket.socket,
    ready: Callable[[], None],
    state: Path | None = None,
    *,
    date_header: bool = True,
) -> None:
    """Answer on a bound socket until SIGTERM or SIGINT.

    A cloud behind some web servers sends no `Date`; `date_header=False` is such a one.
    """
    config = uvicorn.Config(
        build(world),
        http=_Protocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=date_header,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
        backlog=2048,
    )
    server = _Server(config, ready)
    if state is None:
        await server.serve(sockets=[bound])
        return
    snapshot = Snapshot(world, state)
    snapshot.load()
    await _serve_and_keep(server, bound, world, snapshot)


async def _serve_and_keep(
    server: _Server, bound: socket.socket, world: World, snapshot: Snapshot
) -> None:
    """Both end when one does: a cloud that no longer keeps its memory is not to go on."""
    ended = asyncio.Event()
    keeper = asyncio.create_task(_keep(world, snapshot, ended))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        await asyncio.wait({keeper, serving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        await serving
        ended.set()
        await keeper
        if snapshot.dirty:  # what changed while the keeper wrote for the last time
            snapshot.write(snapshot.encode())
