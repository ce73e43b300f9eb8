"""The one place that decides which broker, database and cloud the tests run on, and why.

An address in the environment first, then a container where a Docker engine answers and holds the
image, then a process of this machine.
"""

import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import rmtree

from deploy.local.broker import Broker, Choice, Kind, choose_broker, open_broker
from deploy.local.cloud import GivenCloud, LocalCloud, open_cloud
from deploy.local.postgres import Database, open_database
from tests.infra.containers import KafkaContainer, PostgresContainer, find_images


@dataclass(frozen=True)
class Plan:
    """What will be used; nothing is started yet. `…_image` is set where a container serves."""

    broker: Choice
    broker_image: str | None
    database: str
    database_image: str | None
    cloud: str

    def lines(self) -> list[str]:
        """The header of a test run."""
        broker = self.broker_image or self.broker.kind
        return [
            f"broker:   {broker} ({self.broker.reason})",
            f"database: {self.database_image or self.database}, and SQLite",
            f"cloud:    {self.cloud}",
        ]


def decide(environment: Mapping[str, str], images: Mapping[str, str]) -> Plan:
    """The plan for this environment; `images`: what a Docker engine holds, by repository."""
    broker = choose_broker(environment)
    broker_image = None if broker.forced else images.get("apache/kafka")
    if broker_image is not None:
        broker = Choice(Kind.KAFKA, "a Docker engine answers and holds the image")
    given = "HOSTLER_DATABASE_URL" in environment
    database = "HOSTLER_DATABASE_URL" if given else "PostgreSQL from a wheel (no Docker image)"
    cloud = environment.get("OS_CLOUD")
    return Plan(
        broker,
        broker_image,
        database,
        None if given else images.get("postgres"),
        f"OS_CLOUD={cloud}" if cloud else "the simulator (OS_CLOUD is not set)",
    )


@cache
def plan() -> Plan:
    """The plan of this run."""
    return decide(os.environ, find_images())


class Infrastructure:
    """Starts what is asked for, once, and ends all of it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._folder = Path(tempfile.mkdtemp(prefix="hostler-tests-"))
        self._opened = ExitStack()
        self._broker: Broker | None = None
        self._database: Database | None = None
        self._cloud: LocalCloud | GivenCloud | None = None

    def broker(self) -> Broker:
        """The running broker."""
        if self._broker is None:
            self._broker = self.new_broker("broker")
            self._broker.start()
        return self._broker

    def new_broker(self, name: str) -> Broker:
        """A broker of the planned kind for one test's own use, not started."""
        if self._plan.broker_image is not None:
            container = KafkaContainer(self._plan.broker_image)
            self._opened.callback(container.remove)
            return container
        broker = open_broker(self._plan.broker, self._folder / name)
        self._opened.callback(broker.stop)
        return broker

    def database(self) -> Database:
        """The running PostgreSQL."""
        if self._database is None:
            self._database = self._new_database()
            self._database.start()
        return self._database

    def _new_database(self) -> Database:
        if self._plan.database_image is not None:
            container = PostgresContainer(self._plan.database_image)
            self._opened.callback(container.remove)
            return container
        database = open_database(self._folder / "postgres")
        self._opened.callback(database.stop)
        return database

    def cloud(self) -> LocalCloud | GivenCloud:
        """The running cloud."""
        if self._cloud is None:
            self._cloud = open_cloud(self._folder / "cloud")
            self._opened.callback(self._cloud.stop)
            self._cloud.start()
        return self._cloud

    def close(self) -> None:
        """Stop everything and forget its data."""
        self._opened.close()
        rmtree(self._folder, ignore_errors=True)
