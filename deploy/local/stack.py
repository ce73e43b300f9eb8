"""The whole of Hostler on free loopback ports: broker, database, cloud, topics, services."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from shutil import rmtree
from types import MappingProxyType
from typing import IO, Final

from chassis.settings import PREFIX
from deploy.command_key import public_key
from deploy.kafka.grants import TOPICS_PRINCIPAL, principal_of
from deploy.local.broker import Broker, choose_broker, open_broker
from deploy.local.cloud import GivenCloud, LocalCloud, open_cloud
from deploy.local.embedded import EmbeddedBroker
from deploy.local.parts import (
    DRAIN_SECONDS,
    ROOT,
    Launch,
    Part,
    ServiceProcess,
    Topics,
    as_a_module,
    processes_of,
    service_of,
)
from deploy.local.postgres import Database, open_database
from deploy.local.processes import Child, StartError, free_port
from deploy.local.secret import keep
from deploy.local.secured import SecuredKafka

SERVICES: Final = ("audit", "sync", "provisioner", "gateway")
PROJECT: Final = "demo"
Identify = Callable[[str], dict[str, str]]


class Stack:
    """Starts everything, holds it, and ends what it started.

    `environment` says what it stands on (HOSTLER_KAFKA_BOOTSTRAP_SERVERS, HOSTLER_LOCAL_BROKER,
    HOSTLER_DATABASE_URL, OS_CLOUD, as deploy.local.{broker,postgres,cloud} read them) and goes on
    to the services. On HOSTLER_LOCAL_BROKER=secured each has a user of its own. `folder` holds data and logs; one stack at a time may use it.
    `replicas` says of which services there are several processes: the parts `gateway`,
    `gateway.2` and so on. The n-th gateway asks the n-th audit, as far as there are so many.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environment: Mapping[str, str] = os.environ,
        say: Callable[[str], None] = print,
        replicas: Mapping[str, int] = MappingProxyType({}),
        launch: Launch = as_a_module,
    ) -> None:
        self.folder = folder.resolve()
        self.logs = self.folder / "logs"
        self.say = say
        self.parts: dict[str, Part] = {}
        self._environment = dict(environment)
        self._launch = launch
        self._ports = {
            name: free_port()
            for service in SERVICES
            for name in processes_of(service, replicas.get(service, 1))
        }
        self._lock: IO[str] | None = None
        self._identify: Identify = _nobody

    @property
    def base_url(self) -> str:
        """The gateway's address, without a path."""
        return f"http://127.0.0.1:{self._ports['gateway']}"

    @property
    def base_urls(self) -> list[str]:
        """The addresses of all gateways."""
        return [f"http://127.0.0.1:{self._ports[name]}" for name in self.names("gateway")]

    @property
    def api_key(self) -> str:
        """An admin's key of the project `demo`."""
        return self._environment.get("HOSTLER_FIRST_API_KEY") or keep(self.folder / "api_key")

    @property
    def command_key(self) -> str:
        """What gateways sign commands with. It stays: a broker that is given keeps commands."""
        return self._environment.get("HOSTLER_COMMAND_KEY") or keep(self.folder / "command_key")

    @property
    def kafka(self) -> str:
        """The broker's address, `host:port`."""
        return self._environment["HOSTLER_KAFKA_BOOTSTRAP_SERVERS"]

    @property
    def cloud(self) -> LocalCloud | GivenCloud:
        """The cloud that it works on."""
        cloud = self.parts["cloud"]
        assert isinstance(cloud, LocalCloud | GivenCloud)  # noqa: S101 - only _open fills parts
        return cloud

    def names(self, *services: str) -> list[str]:
        """The parts that are processes of these services, or of all."""
        return [name for name in self._ports if service_of(name) in (services or SERVICES)]

    def process(self, name: str) -> ServiceProcess:
        """One process of a service, by the part's name."""
        part = self.parts[name]
        assert isinstance(part, ServiceProcess), name  # noqa: S101 - a wrong name is a bug
        return part

    def start(self, *, fresh: bool = True) -> None:
        """Return once every service is ready; when that fails, everything is ended.

        `fresh` forgets what an earlier stack left in the folder.
        """
        self._lock = lock(self.folder)
        try:
            if fresh:
                forget(self.folder)
            self._start_all()
        except BaseException:
            self.stop()
            raise

    def _start_all(self) -> None:
        database, cloud, broker = self._open()
        self._identify = _identities(broker)
        theirs = self._environment | self._identify(TOPICS_PRINCIPAL)
        topics = Topics(theirs, self.logs / "topics.log")
        self.parts = {"postgres": database, "cloud": cloud, "broker": broker, "topics": topics}
        self._start_together(self.parts)
        services: dict[str, Part] = {
            name: ServiceProcess(
                name,
                self._launch(name),
                self._settings(name)
                | database.settings(service_of(name))
                | self._identify(principal_of(service_of(name))),
                self.logs / f"{name}.log",
            )
            for name in self._ports
        }
        self.parts |= services
        self._start_together(services)

    def _open(self) -> tuple[Database, LocalCloud | GivenCloud, Broker]:
        environment, logs = self._environment, self.logs
        database = open_database(self.folder / "postgres", environment, logs / "postgres.log")
        cloud = open_cloud(self.folder / "cloud", environment, logs / "simulator.log")
        broker = open_broker(
            choose_broker(environment),
            self.folder / "broker",
            self.say,
            environment,
            logs / "broker.log",
        )
        self._environment |= {
            "HOSTLER_DATABASE_URL": database.url,
            "HOSTLER_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "HOSTLER_KAFKA_ENABLE_IDEMPOTENCE": str(broker.enable_idempotence).lower(),
            "HOSTLER_HTTP_HOST": "127.0.0.1",
            "HOSTLER_FIRST_API_KEY": self.api_key,
            "HOSTLER_INTERNAL_SECRET": keep(self.folder / "internal_secret"),
            "HOSTLER_PROJECTS": json.dumps({PROJECT: cloud.name}),
        }
        self._environment.setdefault("HOSTLER_SWEEP_INTERVAL_SECONDS", "1")
        # Not forgotten with the data: a database that is given keeps what was signed with it.
        self._environment.setdefault("HOSTLER_SIGNING_KEY", keep(self.folder / "signing_key"))
        if cloud.clouds_yaml is not None:
            self._environment["OS_CLIENT_CONFIG_FILE"] = str(cloud.clouds_yaml)
        return database, cloud, broker

    def _settings(self, name: str) -> dict[str, str]:
        mine = {"HOSTLER_HTTP_PORT": str(self._ports[name])}
        if service_of(name) == "gateway":
            audit = self._ports.get(name.replace("gateway", "audit"), self._ports["audit"])
            mine["HOSTLER_AUDIT_URL"] = f"http://127.0.0.1:{audit}"
            mine["HOSTLER_COMMAND_KEY"] = self.command_key
        if service_of(name) == "provisioner":
            mine["HOSTLER_COMMAND_KEYS"] = json.dumps([public_key(self.command_key)])
        return self._environment | mine

    def _start_together(self, parts: Mapping[str, Part]) -> None:
        """Start all at once; the first failure ends all, so that none keeps the others waiting."""
        with ThreadPoolExecutor(len(parts)) as pool:
            try:
                for started in as_completed([pool.submit(self._start_one, p) for p in parts]):
                    started.result()
            except BaseException:
                self._end(parts.values())
                raise

    def _start_one(self, name: str) -> None:
        began = time.monotonic()
        part = self.parts[name]
        part.start()
        what = getattr(part, "description", "ready")
        self.say(f"{name:<12} {what} ({time.monotonic() - began:.1f} s)")

    def restart(self, name: str) -> None:
        """Stop one part if it runs, start it, and return once it is ready."""
        self.parts[name].stop()
        self.parts[name].start()
        if isinstance(self.parts[name], EmbeddedBroker):
            self.parts["topics"].start()

    def kill(self, name: str) -> None:
        """SIGKILL one part; `restart` brings it back."""
        self.parts[name].kill()

    def ended(self) -> dict[str, Child]:
        """The services that have ended by themselves."""
        parts = self.parts.items()
        services = {name: part for name, part in parts if isinstance(part, ServiceProcess)}
        return {name: part.child for name, part in services.items() if not part.child.alive}

    def stop(self) -> None:
        """End all: services drain together, then what they stand on. A second call does nothing."""
        services = [part for part in self.parts.values() if isinstance(part, ServiceProcess)]
        for service in services:
            service.child.ask_to_stop()
        deadline = time.monotonic() + DRAIN_SECONDS
        for service in services:
            service.child.stop(max(0.1, deadline - time.monotonic()))
        self._end(part for part in self.parts.values() if not isinstance(part, ServiceProcess))
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @staticmethod
    def _end(parts: Iterable[Part]) -> None:
        for part in parts:
            part.stop()


def _identities(broker: Broker) -> Identify:
    """How each user is known to a broker; nothing where it asks nobody who they are."""
    if not isinstance(broker, SecuredKafka):
        return _nobody
    return lambda user: {f"{PREFIX}{k.upper()}": v for k, v in broker.by_password(user).items()}


def _nobody(_user: str) -> dict[str, str]:
    return {}


def lock(folder: Path) -> IO[str]:
    """Hold `folder` for this process until the file is closed or the process ends.

    The file names the holder, and a name is only as good as the lock: no pid is taken on trust.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise StartError(f"process {holder(folder)} runs a stack in {folder}") from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def holder(folder: Path) -> int | None:
    """The pid of the process that holds `folder`, or None."""
    try:
        with (folder / "lock").open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except FileNotFoundError:
        return None
    return None


def local_folder() -> Path:
    """Where `make up` and `make demo` keep data and logs: HOSTLER_LOCAL_FOLDER, else .local."""
    return Path(os.environ.get("HOSTLER_LOCAL_FOLDER") or ROOT / ".local").resolve()


def forget(folder: Path) -> None:
    """Remove the data and logs of an earlier stack."""
    for name in ("broker", "postgres", "cloud", "logs"):
        rmtree(folder / name, ignore_errors=True)
    for name in ("api_key", "internal_secret"):
        (folder / name).unlink(missing_ok=True)
