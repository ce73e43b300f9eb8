"""Everything in docker-compose.yml as processes of this machine: its commands, its environment.

What stands in for containers: a folder for each volume, a free port on loopback for each address, and
for the images of others the same programs as everywhere in these tests.
"""

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from deploy.local.kafka import LocalKafka
from deploy.local.kafka_jars import fetch_jars, find_java
from deploy.local.postgres import LocalPostgres
from deploy.local.processes import Child, StartError, free_port
from deploy.local.redis import LocalRedis, find_redis
from tests.deploy.composition import ROOT, Stanza, read

OTHERS = ("kafka", "postgres", "redis")
_JVM = "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=info"
"""Kafka tells whom it refused what, and is silent about it at the level of other tests."""


class ComposedKafka(LocalKafka):
    """Apache Kafka with what its image makes of the environment."""

    def __init__(self, folder: Path, log: Path, port: int, controller: int, said: str) -> None:
        java = find_java()
        assert java is not None
        super().__init__(java, fetch_jars(lambda _: None), folder, log)
        self._java.insert(1, _JVM)
        self.port, self.controller_port, self._said = port, controller, said
        self._child = Child(
            "kafka", [*self._java, "kafka.Kafka", str(self._properties)], log=self._child.log
        )

    def listeners(self) -> str:
        return self._said

    def is_answering(self) -> bool:
        """As the health check: the port is open."""
        shell = ["bash", "-c", f"</dev/tcp/127.0.0.1/{self.port}"]
        return _ran(shell).returncode == 0


def properties(environment: dict[str, str]) -> str:
    """Kafka's, as its image writes them from KAFKA_*."""
    lines = [
        f"{_property(name)}={value}"
        for name, value in environment.items()
        if name.startswith("KAFKA_") and name not in {"KAFKA_HEAP_OPTS", "KAFKA_LOG_DIRS"}
    ]
    return "\n".join([*lines, ""])


def _property(name: str) -> str:
    dotted = name.removeprefix("KAFKA_").lower().replace("_", ".")
    return dotted.replace("...", "-").replace("..", "_")


class Rehearsal:
    """Starts all that Compose would, in its order; ends all of it with the `with` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self._ending = ExitStack()
        self._postgres = LocalPostgres(folder / "postgres", self.logs / "postgres.log")
        self._ports = {n: free_port() for n in ("9092", "9094", "9093", "8775")}
        self._services: dict[str, int] = {}
        self._redis = LocalRedis(folder / "redis") if find_redis() else None
        if self._redis is not None:
            self._ports["6379"] = int(self._redis.url.rpartition(":")[2].partition("/")[0])

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._ending.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._services['gateway']}"

    def text(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text()

    def run(self, name: str) -> str:
        """One that ends by itself, to its end, as often as Compose would try; what it said."""
        stanza = self._compose.stanzas[name]
        done = ""
        for _ in range(1 if stanza.restart == "no" else 10):
            ran = _ran(self._command(stanza), self._environment(stanza))
            done = ran.stdout + ran.stderr
            if ran.returncode == 0:
                return done
        raise StartError(f"{name} ends with an error each time:\n{done}")

    def _start(self) -> None:
        self._ending.callback(self._postgres.stop)
        self._postgres.start()
        password = self._postgres.url.partition("hostler:")[2].partition("@")[0]
        self._compose = read({"HOSTLER_POSTGRES_PASSWORD": password})
        stanzas = self._compose.order()
        waited = {n for s in stanzas for n, c in s.conditions.items() if "completed" in c}
        self._services = {s.name: free_port() for s in stanzas if "8000" in " ".join(s.check)}
        for stanza in stanzas:
            if stanza.name in waited:
                self.run(stanza.name)
            else:
                self._start_one(stanza)

    def _start_one(self, stanza: Stanza) -> None:
        match stanza.name:
            case "postgres":
                pass
            case "redis":
                self._start_redis()
            case "kafka":
                self._start_kafka(stanza)
            case _:
                self._start_child(stanza)

    def _start_child(self, stanza: Stanza) -> None:
        log = self.logs / f"{stanza.name}.log"
        environment = self._environment(stanza)
        child = Child(
            stanza.name, self._command(stanza), log=log, environment=environment, folder=ROOT
        )
        self._ending.callback(child.stop)
        child.start()
        check = self._put(stanza, *stanza.check[1:])
        child.wait_until(lambda: _ran(check).returncode == 0, timeout=90)

    def _start_kafka(self, stanza: Stanza) -> None:
        controller, said = int(self._ports["9093"]), properties(self._environment(stanza))
        folder, log = self.folder / "kafka", self.logs / "kafka.log"
        kafka = ComposedKafka(folder, log, self._ports["9092"], controller, said)
        self._ending.callback(kafka.stop)
        kafka.start()

    def _start_redis(self) -> None:
        """Where it is installed; without it a gateway counts by itself."""
        if self._redis is not None:
            self._ending.callback(self._redis.stop)
            self._redis.start()

    def _environment(self, stanza: Stanza) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "HOSTLER_"))}
        said = {k: self._put(stanza, v)[0] for k, v in stanza.environment.items()}
        if stanza.name in self._services:
            said |= {"HOSTLER_HTTP_PORT": str(self._services[stanza.name])}
        return said if stanza.name in OTHERS else kept | said

    def _command(self, stanza: Stanza) -> list[str]:
        words = self._put(stanza, *stanza.command)
        if stanza.name == "locks":
            # The broker's certificate is for the name under which it is reached.
            words[words.index("kafka")] = "127.0.0.1"
        return words

    def _put(self, stanza: Stanza, *words: str) -> list[str]:
        """The words with what stands in for the places they name."""
        return [self._put_one(stanza, word) for word in words]

    def _put_one(self, stanza: Stanza, word: str) -> str:
        if word == "python":
            return sys.executable
        for target, folder in self._folders(stanza).items():
            word = re.sub(rf"(?<![\w/.]){target}(?![\w-])", str(folder), word)
        word = word.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - it is what is replaced
        word = word.replace("127.0.0.1:8000", f"127.0.0.1:{self._services.get(stanza.name, 0)}")
        for name, port in self._services.items():
            word = word.replace(f"{name}:8000", f"127.0.0.1:{port}")
        word = word.replace("postgres:5432", self._postgres.url.partition("@")[2].partition("/")[0])
        for inner, port in self._ports.items():
            word = re.sub(rf"(?:kafka|redis|simulator):{inner}\b", f"127.0.0.1:{port}", word)
            word = word.replace(f"://:{inner}", f"://127.0.0.1:{port}")
            word = re.sub(rf"(localhost:|127\.0\.0\.1:|port=){inner}\b", rf"\g<1>{port}", word)
        return word

    def _folders(self, stanza: Stanza) -> dict[str, Path]:
        """Where volumes are, by their paths inside; `/locks` is all volumes of locks together."""
        own = {target: self._folder(source) for target, source in stanza.mounts.items()}
        return {
            **own,
            "/locks": self.folder / "locks",
            "/ready.py": ROOT / "deploy/docker/ready.py",
        }

    def _folder(self, source: str) -> Path:
        if source.startswith("."):
            return ROOT / source
        if source.startswith("lock-"):
            return self.folder / "locks" / f"hostler-{source.removeprefix('lock-')}"
        folder = self.folder / "volumes" / source
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _ran(
    command: list[str], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A program of the composition, to its end."""
    return subprocess.run(  # noqa: S603 - the words are the composition's
        command,
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
