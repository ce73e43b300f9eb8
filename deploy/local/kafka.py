"""Apache Kafka on this machine: one KRaft node on loopback."""

import base64
import subprocess
import uuid
from pathlib import Path
from typing import Final

from deploy.local import probe
from deploy.local.kafka_jars import KAFKA_VERSION
from deploy.local.processes import Child, StartError, free_port

# A small heap, and a compiler that favours a quick start.
_JVM: Final = ["-Xms96m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
_LOGGING: Final = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
]


class LocalKafka:
    """A broker whose data and ports stay the same over stop, kill and start."""

    enable_idempotence = True
    description = f"Apache Kafka {KAFKA_VERSION} (KRaft, one node on loopback)"

    def __init__(self, java: str, jars: Path, folder: Path, log: Path | None = None) -> None:
        self._java = [java, *_JVM, *_LOGGING, "-cp", f"{jars}/*"]
        self.folder = folder.resolve()
        self.port, self.controller_port = free_port(), free_port()
        self._properties = self.folder / "server.properties"
        command = [*self._java, "kafka.Kafka", str(self._properties)]
        self._child = Child("kafka", command, log=log or self.folder / "kafka.log")

    @property
    def bootstrap_servers(self) -> str:
        """Its address; the same for the life of this object."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._child.pid

    def start(self) -> None:
        """Return once a metadata request is answered."""
        if not (self.folder / "data" / "meta.properties").exists():
            self._format()
        self._properties.write_text(self._settings())
        self._child.start()
        self._child.wait_until(self.is_answering, timeout=120)

    def is_answering(self) -> bool:
        """Whether a metadata request is answered."""
        return probe.answers(self.port)

    def stop(self) -> None:
        """End it in order (SIGTERM), then by force."""
        self._child.stop(grace=15)

    def kill(self) -> None:
        """SIGKILL, as an out-of-memory killer or a power cut would."""
        self._child.kill()

    def _format(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(self._settings())
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}"]
        done = subprocess.run(
            [*self._java, *tool, "--config", str(self._properties), *self.first_users()],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StartError(f"Kafka's storage could not be formatted:\n{done.stderr[-2000:]}")

    def first_users(self) -> list[str]:
        """What else formatting is told: users that are there from the beginning."""
        return []

    def listeners(self) -> str:
        """Where it listens, and to whom."""
        return f"""\
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
"""

    def _settings(self) -> str:
        return f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self.controller_port}
controller.listener.names=CONTROLLER
{self.listeners()}\
log.dirs={self.folder / "data"}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
"""
