"""Redis on this machine: the system's own `redis-server` on loopback, in memory, for tests."""

import shutil
import socket
from pathlib import Path
from typing import Final

from deploy.local.processes import Child, StartError, free_port

_PONG: Final = b"+PONG\r\n"


def find_redis() -> str | None:
    """The path of `redis-server`, where it is installed (Debian: `apt-get install redis-server`)."""
    return shutil.which("redis-server")


class LocalRedis:
    """A server whose address stays the same over stop, kill and start; it keeps nothing."""

    def __init__(self, folder: Path) -> None:
        program = find_redis()
        if program is None:
            raise StartError("redis-server is not installed: apt-get install redis-server")
        self._port = free_port()
        options = ["--bind", "127.0.0.1", "--port", str(self._port), "--save", ""]
        command = [program, *options, "--appendonly", "no", "--dir", str(folder)]
        folder.mkdir(parents=True, exist_ok=True)
        self._child = Child("redis", command, log=folder / "redis.log")

    @property
    def url(self) -> str:
        """`redis://…`."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Return once it answers."""
        self._child.start()
        self._child.wait_until(self._answers, timeout=20)

    def stop(self) -> None:
        """End it; a second call does nothing."""
        self._child.stop()

    def kill(self) -> None:
        """SIGKILL it."""
        self._child.kill()

    def pause(self) -> None:
        """Have it accept connections and answer nothing."""
        self._child.pause()

    def resume(self) -> None:
        """Have it answer again."""
        self._child.resume()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(len(_PONG)) == _PONG
        except OSError:
            return False
