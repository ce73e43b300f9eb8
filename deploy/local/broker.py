"""Which Kafka broker a run on this machine uses, and why."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from deploy.local.embedded import EmbeddedBroker
from deploy.local.kafka import LocalKafka
from deploy.local.kafka_jars import (
    KAFKA_VERSION,
    MINIMUM_JAVA,
    FetchError,
    cached_jars,
    fetch_jars,
    find_java,
)
from deploy.local.processes import StartError
from deploy.local.secured import SecuredKafka


class Broker(Protocol):
    """A broker that can be started, stopped and killed; its address stays the same."""

    @property
    def bootstrap_servers(self) -> str:
        """What a client connects to, `host:port[,host:port]`."""
        ...

    @property
    def enable_idempotence(self) -> bool:
        """Whether producers may ask it for idempotence."""
        ...

    @property
    def description(self) -> str:
        """What it is, for people."""
        ...

    def start(self) -> None:
        """Return once it answers."""

    def stop(self) -> None:
        """End it in order; a second call does nothing."""

    def kill(self) -> None:
        """SIGKILL it."""


class Kind(StrEnum):
    """Where the broker comes from."""

    GIVEN = "given"
    KAFKA = "kafka"
    SECURED = "secured"
    EMBEDDED = "embedded"


@dataclass(frozen=True)
class Choice:
    """The kind of broker and the reason, one line for people."""

    kind: Kind
    reason: str
    forced: bool = False


@dataclass(frozen=True)
class GivenBroker:
    """Somebody else's broker: it is used, never started or stopped."""

    bootstrap_servers: str
    enable_idempotence: bool = True
    description: str = "the broker in HOSTLER_KAFKA_BOOTSTRAP_SERVERS"

    def start(self) -> None:
        """Nothing: it runs."""

    def stop(self) -> None:
        """Nothing: it is not ours."""

    def kill(self) -> None:
        """Refuse."""
        raise NotImplementedError("a broker given by its address is not ours to kill")


def choose_broker(environment: Mapping[str, str] = os.environ) -> Choice:
    """The address given; else the kind that is forced; else Kafka where Java can run it."""
    if address := environment.get("HOSTLER_KAFKA_BOOTSTRAP_SERVERS"):
        return Choice(Kind.GIVEN, f"HOSTLER_KAFKA_BOOTSTRAP_SERVERS={address}", forced=True)
    if forced := environment.get("HOSTLER_LOCAL_BROKER"):
        return Choice(Kind(forced), f"HOSTLER_LOCAL_BROKER={forced}", forced=True)
    if find_java() is None:
        return Choice(Kind.EMBEDDED, f"no Java {MINIMUM_JAVA} or newer on this machine")
    if cached_jars() is None and shutil.which("mvn") is None:
        return Choice(Kind.EMBEDDED, "no Maven to fetch Apache Kafka with")
    return Choice(Kind.KAFKA, f"Apache Kafka {KAFKA_VERSION} on this machine's Java")


def open_broker(
    choice: Choice,
    folder: Path,
    say: Callable[[str], None] = print,
    environment: Mapping[str, str] = os.environ,
    log: Path | None = None,
) -> Broker:
    """The broker of this choice, not yet started; `folder` holds its data.

    Where Kafka was chosen, not forced, and cannot be fetched, the embedded broker takes its place
    and `say` is told why.
    """
    match choice.kind:
        case Kind.GIVEN:
            idempotence = environment.get("HOSTLER_KAFKA_ENABLE_IDEMPOTENCE", "true").lower()
            address = environment["HOSTLER_KAFKA_BOOTSTRAP_SERVERS"]
            return GivenBroker(address, enable_idempotence=idempotence in {"1", "true", "yes"})
        case Kind.EMBEDDED:
            say(f"using the embedded broker: {choice.reason}")
            return EmbeddedBroker(folder, log)
        case Kind.KAFKA:
            return _open_kafka(choice, folder, say, log, LocalKafka)
        case Kind.SECURED:
            return _open_kafka(choice, folder, say, log, SecuredKafka)


def _open_kafka(
    choice: Choice,
    folder: Path,
    say: Callable[[str], None],
    log: Path | None,
    kind: type[LocalKafka],
) -> Broker:
    java = find_java()
    if java is None:  # only where Kafka was forced
        raise StartError(f"{choice.reason}, but there is no Java {MINIMUM_JAVA} or newer here")
    try:
        return kind(java, fetch_jars(say), folder, log)
    except FetchError as error:
        if choice.forced:
            raise
        say(f"using the embedded broker: Apache Kafka could not be fetched ({error})")
        return EmbeddedBroker(folder, log)
