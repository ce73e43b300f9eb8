"""The parts of a stack that are Hostler's own: its services' processes, and the topics."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import httpx

from deploy.local.processes import Child, StartError, wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
DRAIN_SECONDS: Final = 10.0


class Part(Protocol):
    """One process of the stack, whose address stays the same over stop, kill and start."""

    def start(self) -> None:
        """Return once it is ready."""

    def stop(self) -> None:
        """End it in order, then by force."""

    def kill(self) -> None:
        """SIGKILL."""


Launch = Callable[[str], Sequence[str]]
"""The arguments that Python runs a part with, by the part's name."""


def service_of(name: str) -> str:
    """The service that a part is a process of: `gateway.2` is the second one of `gateway`."""
    return name.partition(".")[0]


def as_a_module(name: str) -> Sequence[str]:
    """`python -m services.NAME`."""
    return ("-m", f"services.{service_of(name)}")


class ServiceProcess:
    """One process of a service, on a port of its own."""

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.port = int(environment["HOSTLER_HTTP_PORT"])
        command = [sys.executable, *arguments]
        self.child = Child(name, command, log=log, environment=environment, folder=ROOT)

    def start(self) -> None:
        """Return once /readyz says 200."""
        self.child.start()
        self.child.wait_until(self.is_ready, timeout=120)

    def is_ready(self) -> bool:
        """Whether /readyz says 200."""
        try:
            url = f"http://127.0.0.1:{self.port}/readyz"
            return httpx.get(url, timeout=5, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        """Drain, then end by force."""
        self.child.stop(DRAIN_SECONDS)

    def kill(self) -> None:
        """SIGKILL."""
        self.child.kill()


class Topics:
    """Not a server: `python -m deploy.topics`, which waits for the broker by itself."""

    description = "topics are as the contracts say"

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        command = [sys.executable, "-m", "deploy.topics"]
        self._child = Child("topics", command, log=log, environment=environment, folder=ROOT)

    def start(self) -> None:
        """Return once they are there."""
        self._child.start()
        if not wait_until(lambda: not self._child.alive, 120) or self._child.exit_code != 0:
            raise StartError(f"the topics could not be created:\n{self._child.tail()}")

    def stop(self) -> None:
        """End it, if it is under way."""
        self._child.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()


def processes_of(service: str, count: int) -> list[str]:
    """What the parts of a service are called: the first one by its name alone."""
    return [service if number == 1 else f"{service}.{number}" for number in range(1, count + 1)]
