"""The cloud that a run on this machine talks to: the simulator, or one from clouds.yaml."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.local.processes import Child, free_port


@dataclass(frozen=True)
class GivenCloud:
    """Somebody's OpenStack, by its name in clouds.yaml."""

    name: str
    clouds_yaml: Path | None

    @property
    def description(self) -> str:
        """What it is, for people."""
        return f"OpenStack {self.name!r} from clouds.yaml"

    def start(self) -> None:
        """Nothing: it runs."""

    def stop(self) -> None:
        """Nothing: it is not ours."""

    def kill(self) -> None:
        """Refuse."""
        raise NotImplementedError("a cloud from clouds.yaml is not ours to kill")


class LocalCloud:
    """The simulator in a process of its own.

    Its port, and what it holds (a snapshot in `folder`), stay the same over stop, kill and start.
    """

    name = "simulator"
    description = "the simulated OpenStack"

    def __init__(self, folder: Path, log: Path | None = None) -> None:
        self.clouds_yaml = folder.resolve() / "clouds.yaml"
        self.port = free_port()
        state = self.clouds_yaml.with_name("state.json")
        command = [sys.executable, "-m", "simulator", "--port", str(self.port)]
        self._child = Child(
            "simulator",
            [*command, "--clouds-yaml", str(self.clouds_yaml), "--state", str(state)],
            log=log or folder / "simulator.log",
            folder=Path(__file__).resolve().parents[2],
        )

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def child(self) -> Child:
        """Its process."""
        return self._child

    def start(self) -> None:
        """Return once it has written clouds.yaml and answers."""
        self.clouds_yaml.parent.mkdir(parents=True, exist_ok=True)
        self._child.start()
        self._child.wait_until(self._answers, timeout=60)

    def stop(self) -> None:
        """End it in order, then by force."""
        self._child.stop(grace=5)

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()

    def _answers(self) -> bool:
        if not self.clouds_yaml.exists():
            return False
        try:
            return httpx.get(f"{self.url}/control/health", timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False


def open_cloud(
    folder: Path, environment: Mapping[str, str] = os.environ, log: Path | None = None
) -> LocalCloud | GivenCloud:
    """The cloud that OS_CLOUD names, else a simulator."""
    name = environment.get("OS_CLOUD")
    if not name or name == LocalCloud.name:
        return LocalCloud(folder, log)
    file = environment.get("OS_CLIENT_CONFIG_FILE")
    return GivenCloud(name, Path(file) if file else None)
