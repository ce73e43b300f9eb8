"""Kafka and PostgreSQL as containers, where a Docker engine answers and holds their images."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, cast

import docker
import psycopg
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from deploy.local import probe
from deploy.local.postgres import dsn
from deploy.local.processes import StartError, free_port, wait_until

# What HOSTLER_TEST_PULL=1 may fetch; else any local tag of the same repository will do.
KAFKA_IMAGE: Final = "apache/kafka:4.1.0"
POSTGRES_IMAGE: Final = "postgres:18"


def find_images(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The engine's image per repository: `apache/kafka`, `postgres` (16 and up); {} without one.

    Nothing is pulled unless HOSTLER_TEST_PULL=1: tests do not hang on a download in silence.
    """
    if "DOCKER_HOST" not in environment and not Path("/var/run/docker.sock").exists():
        return {}
    try:
        client = docker.from_env(timeout=3)
        tags = [str(tag) for image in client.images.list() for tag in image.tags]
        client.close()
    except DockerException:
        return {}
    if environment.get("HOSTLER_TEST_PULL") == "1":
        tags += [KAFKA_IMAGE, POSTGRES_IMAGE]
    return _newest_usable(tags)


def _newest_usable(tags: list[str]) -> dict[str, str]:
    chosen: dict[str, tuple[int, str]] = {}
    for tag in tags:
        name, _, version = tag.rpartition(":")
        repository = name.removeprefix("localhost/").removeprefix("docker.io/")
        repository = repository.removeprefix("library/")
        major = version.split(".")[0].split("-")[0]
        number = int(major) if major.isdigit() else 0
        minimum = {"apache/kafka": 4, "postgres": 16}.get(repository)
        if minimum is not None and number >= minimum:
            chosen[repository] = max(chosen.get(repository, (0, "")), (number, tag))
    return {repository: tag for repository, (_, tag) in chosen.items()}


class _Service:
    """A container with one port on loopback; the port stays the same over stop, kill, start."""

    def __init__(self, image: str, port: int, environment: dict[str, str]) -> None:
        # The reaper is one more image; without it a killed test run leaves its containers behind.
        testcontainers_config.ryuk_disabled = True
        self.description = f"container of {image}"
        self.port = port
        self._container = DockerContainer(image).with_envs(**environment)
        self._created = False

    def bind(self, inner_port: int) -> None:
        ports = cast("dict[str, tuple[str, int]]", self._container.ports)
        ports[f"{inner_port}/tcp"] = ("127.0.0.1", self.port)

    def run(self, ready: Callable[[], bool]) -> None:
        if self._created:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._created = True
        if not wait_until(lambda: ready() or self._has_ended(), 90, pause=0.5) or not ready():
            log = self._container.get_wrapped_container().logs(tail=15).decode()
            raise StartError(f"{self.description} has ended or is not ready after 90 s:\n{log}")

    def _has_ended(self) -> bool:
        container = self._container.get_wrapped_container()
        container.reload()
        return container.status == "exited"

    def stop(self) -> None:
        if self._created:
            self._container.get_wrapped_container().stop(timeout=15)

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def remove(self) -> None:
        if self._created:
            self._container.stop()


class KafkaContainer(_Service):
    """Apache Kafka's own image as one KRaft node."""

    enable_idempotence = True

    def __init__(self, image: str) -> None:
        port = free_port()
        settings = {
            "NODE_ID": "1",
            "PROCESS_ROLES": "broker,controller",
            "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
            "LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "AUTO_CREATE_TOPICS_ENABLE": "false",
            "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "OFFSETS_TOPIC_NUM_PARTITIONS": "4",
            "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "BROKER_SESSION_TIMEOUT_MS": "4000",
            "BROKER_HEARTBEAT_INTERVAL_MS": "500",
        }
        super().__init__(image, port, {f"KAFKA_{name}": value for name, value in settings.items()})
        self.bind(9092)

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.run(lambda: probe.answers(self.port))


class PostgresContainer(_Service):
    """PostgreSQL's own image."""

    def __init__(self, image: str) -> None:
        environment = {"POSTGRES_USER": "hostler", "POSTGRES_PASSWORD": "hostler"}
        super().__init__(image, free_port(), environment)
        self.bind(5432)

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://hostler:hostler@127.0.0.1:{self.port}/hostler"

    def settings(self, service: str) -> dict[str, str]:
        return {"HOSTLER_DATABASE_URL": self.url}

    def start(self) -> None:
        self.run(self._answers)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(dsn(self.url), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False
