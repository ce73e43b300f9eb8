"""What a driver must and may be able to do, and the values that pass between it and the services.

Rules for every method of every driver (the conformance suite holds a driver to them):

- It MUST end by returning, by `Retry` or by `Terminal` (see chassis/errors); anything else is a bug.
- It MUST NOT wait for an effect: it returns once the cloud has taken the request.
- It MUST raise `Retry(uncertain=True)` where the cloud may have taken the request all the same: a
  connection lost after sending, a 5xx, a timeout.
- It MUST pass `request_id` on to the cloud where the cloud takes one.
- It SHOULD honour the cloud's `Retry-After`, and MUST NOT repeat a request that changes something.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from contracts.catalog.events import CatalogEvent
from contracts.inventory.events import ResourceKind
from contracts.vm.commands import Create, Update
from contracts.vm.states import VmSnapshot


@dataclass(frozen=True)
class Mark:
    """How a server says whose it is: written when it is created, never changed."""

    vm_id: UUID
    project_id: str


@dataclass(frozen=True)
class Seen:
    """One server as one answer of the cloud shows it. `mark` is None if it is not Hostler's."""

    snapshot: VmSnapshot
    mark: Mark | None


@dataclass(frozen=True)
class Looked:
    """An answer about servers.

    `clock` is the cloud's own (UTC, whole seconds), never later than the moment at which the
    question was sent: a sweep that begins at it misses nothing.
    """

    servers: Sequence[Seen]
    clock: datetime


class Glimpse(NamedTuple):
    """One server of one answer, not read yet.

    Two with the same `fingerprint` say the very same of the same server; two without may do so,
    too. It means something only among answers that one process got. `server_id` is "" where what
    came names none. `read` gives the server, or None for one that cannot be read, which the driver
    has logged and leaves out.
    """

    server_id: str
    fingerprint: bytes
    read: Callable[[], Seen | None]


@dataclass(frozen=True)
class Glanced:
    """An answer about servers that were not read. `clock` as in `Looked`."""

    servers: Sequence[Glimpse]
    clock: datetime


Fingerprints = Callable[[str], bytes | None]
"""By a server's id its fingerprint in an earlier answer; None if it is not known."""


@dataclass(frozen=True)
class Issued:
    """The cloud has taken a request.

    `called_at` is the cloud's clock (UTC, whole seconds) when it answered: what was looked at with
    `Looked.clock` > `called_at` was looked at after the call. `cloud_request_id` is the id under
    which `Driver.actions` knows it.
    """

    server_id: str
    called_at: datetime
    cloud_request_id: str | None = None


@dataclass(frozen=True)
class ActionRecord:
    """One request that the cloud remembers having taken for a server.

    `action` is the driver-neutral verb: create, stop, start, reboot, delete, …; `request_id` is
    the cloud's own. `finished` says that no step of it is known to run; `failed` implies it.
    """

    action: str
    request_id: str
    started_at: datetime
    failed: bool
    finished: bool
    message: str | None = None


class Driver(ABC):
    """One account on one cloud. Safe to share between tasks; `close` ends it."""

    account: str

    @abstractmethod
    async def create(self, mark: Mark, wanted: Create, request_id: str) -> Issued:
        """Ask for a server that carries `mark`. `wanted` holds ids, not names.

        MUST make the mark part of the request that creates, so that no server is without one.
        Does not look for an earlier one: the caller uses `find` first where it has to.
        """

    @abstractmethod
    async def delete(self, server_id: str, request_id: str) -> Issued:
        """Ask for the server's end. A server that is gone already is a success."""

    @abstractmethod
    async def update(self, server_id: str, wanted: Update, request_id: str) -> Issued:
        """Set what `wanted` gives and leave the rest, Hostler's own tags above all."""

    @abstractmethod
    async def find(self, mark: Mark) -> Looked:
        """All living servers that carry the mark's VM id, oldest first; none is an answer.

        MUST compare the mark of each server: others than its own are deleted by what it answers.
        """

    @abstractmethod
    async def look(self, server_id: str) -> Looked:
        """The one server, or an empty answer if the cloud says that there is none (404)."""

    @abstractmethod
    def sweep(self, since: datetime | None) -> AsyncIterator[Looked]:
        """All servers of the account that changed at or after `since` (all, if None), by pages.

        Deleted ones MUST be among them, in the state `deleted`, where the cloud remembers them
        and `since` is given; what they are known by is `server_id`: a cloud may forget their mark.
        Every page carries the clock of the first request. `Retry` on the way says nothing of the
        servers that did not come. A server in the state `unknown` may lack all its other fields.
        """

    @abstractmethod
    def catalog(self) -> AsyncIterator[CatalogEvent]:
        """Everything that the account offers, item by item.

        A list that fails hides no other: its Retry or Terminal comes after all that could be had.
        """

    @abstractmethod
    async def actions(
        self, server_id: str, request_id: str | None = None
    ) -> Sequence[ActionRecord]:
        """The requests that the cloud remembers for a server, latest first; [] for no server.

        With the cloud's own `request_id` (`Issued.cloud_request_id`) that one only, which is
        cheaper; [] if the cloud does not remember it.
        """

    @abstractmethod
    async def ping(self) -> None:
        """Raise `Retry` unless the cloud answers and takes the credentials."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections and threads."""


@dataclass(frozen=True)
class Resource:
    """A port, volume or floating IP of an account.

    `mark` is what its own tags or metadata say; `server_id` what it is attached to, or was made
    for, as far as the cloud says.
    """

    kind: ResourceKind
    id: str
    name: str
    mark: Mark | None
    server_id: str | None


class Inventories(ABC):
    """Can list what belongs to servers besides themselves, and remove it."""

    @abstractmethod
    def inventory(self) -> AsyncIterator[Sequence[Resource]]:
        """All ports, volumes and floating IPs of the account that may be a VM's, by pages.

        MUST leave out what belongs to the cloud itself, as ports of routers and DHCP.
        """

    @abstractmethod
    async def belongings(self, mark: Mark, server_id: str | None) -> Sequence[Resource]:
        """What there still is of a VM besides its server.

        That is what carries its mark, and what the cloud made for `server_id` (a port); never what
        was attached to it but made by others.
        """

    @abstractmethod
    async def remove(self, resource: Resource, request_id: str) -> None:
        """Ask for its end. One that is gone already is a success; Retry while it is in use."""


class Glances(ABC):
    """Can list servers without reading what is said of each: most of them are as they were."""

    @abstractmethod
    def glance(self, since: datetime | None, known: Fingerprints) -> AsyncIterator[Glanced]:
        """The pages that `sweep` would give, with the same servers in the same order, unread.

        What has the fingerprint that is `known` of it costs least.
        """


class Rests(ABC):
    """Knows when its cloud is not to be asked: it said so, or it does not answer."""

    @abstractmethod
    def rests_until(self) -> datetime | None:
        """The moment (UTC) until which orders would fail at once with `Retry`; None if none would.

        Costs nothing: it asks nobody. What only sweeps and catalogs wait for is not told.
        """


class Tenancies(ABC):
    """For drivers whose cloud says in which of its own projects a server is."""

    @abstractmethod
    async def tenant(self) -> str:
        """The cloud's id of the one project that the account's servers are in. Asked once, or so."""


class Powers(ABC):
    """Can power servers on and off."""

    @abstractmethod
    async def start(self, server_id: str, request_id: str) -> Issued:
        """Ask for power on. A server that is on already MUST be a success."""

    @abstractmethod
    async def stop(self, server_id: str, request_id: str) -> Issued:
        """Ask for power off. A server that is off already MUST be a success."""


class Reboots(ABC):
    """Can restart servers."""

    @abstractmethod
    async def reboot(self, server_id: str, *, hard: bool, request_id: str) -> Issued:
        """Ask for a restart: `hard` cuts the power, else the guest is asked."""


class Pauses(ABC):
    """Can freeze servers in their host's memory."""

    @abstractmethod
    async def pause(self, server_id: str, request_id: str) -> Issued:
        """Ask for a pause. A server that is paused already MUST be a success."""

    @abstractmethod
    async def unpause(self, server_id: str, request_id: str) -> Issued:
        """Ask it to go on. A server that is running already MUST be a success."""
