"""A cloud in memory and the driver to it, with faults to order; used where a test needs no HTTP.

Like Nova it takes a request at once and works it off later: here, when the test says `settle()`.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from chassis.errors import Retry, Terminal
from contracts.catalog.events import CatalogEvent
from contracts.errors import ErrorCode
from contracts.inventory.events import ResourceKind
from contracts.vm.commands import Create, Update
from contracts.vm.states import Fault, VmSnapshot, VmState
from drivers.base import (
    ActionRecord,
    Driver,
    Fingerprints,
    Glanced,
    Glances,
    Glimpse,
    Inventories,
    Issued,
    Looked,
    Mark,
    Pauses,
    Powers,
    Reboots,
    Resource,
    Rests,
    Seen,
    Tenancies,
)

T = TypeVar("T")

LOST = Retry(ErrorCode.CLOUD_UNAVAILABLE, "connection lost", uncertain=True)
BUSY = Retry(ErrorCode.CLOUD_BUSY, "429 Too Many Requests", after=timedelta(seconds=7))
QUOTA = Retry(ErrorCode.QUOTA, "Quota exceeded for instances", blocked_on="quota")
REFUSED = Terminal(ErrorCode.CLOUD_REFUSED, "Flavor's disk is too small")


@dataclass
class Ordered:
    """One fault: `error` instead of the effect, or after it; `late`: the effect shows later."""

    error: Exception | None = None
    after_effect: bool = False
    late: timedelta = timedelta()
    meanwhile: Callable[[], object] = bool
    """What else happens during the call."""


@dataclass
class FakeServer:
    """What the cloud holds. `to` is the state that the task under way leads to."""

    snapshot: VmSnapshot
    mark: Mark | None
    shows_from: datetime
    to: VmState | None = None
    records: list[ActionRecord] = field(default_factory=list[ActionRecord])

    @property
    def state(self) -> VmState:
        return self.snapshot.state


class FakeCloud:
    """The servers of one account. Its clock is the given one, cut to seconds like a Date header."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.servers: dict[str, FakeServer] = {}
        self.items: list[CatalogEvent] = []
        self.calls: list[str] = []
        self.requests: list[str] = []
        """The request ids that came with orders."""
        self.gates: dict[str, asyncio.Event] = {}
        """Method → a call to it waits until the event is set."""
        self.arrived: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        """Method → set when a call to it has come."""
        self.reads = 0
        """How many servers were read of answers that could be passed over."""
        self.records_kept = True
        self.resources: dict[str, Resource] = {}
        """What belongs to servers besides themselves."""
        self.tenant = "5b1d3c0f8a724c5b9f0e6d7a2c4e8b19"
        """The cloud's own id of the project in which the servers are."""
        self.resting: datetime | None = None
        """Until when the drivers say that the account rests."""
        self._faults: dict[str, deque[Ordered]] = defaultdict(deque)
        self._ids = count(1)

    @property
    def now(self) -> datetime:
        """The cloud's clock."""
        return self.clock().replace(microsecond=0)

    def order(
        self,
        method: str,
        error: Exception | None = None,
        *,
        after_effect: bool = False,
        late: timedelta = timedelta(),
        meanwhile: Callable[[], object] = bool,
        times: int = 1,
    ) -> None:
        """Have the next `times` calls of `method` fail so; orders are used up in turn."""
        self._faults[method].extend([Ordered(error, after_effect, late, meanwhile)] * times)

    def calm(self) -> None:
        """Forget the faults that were ordered and have not come yet."""
        self._faults.clear()

    def called(self, method: str) -> int:
        """How often a method was called."""
        return self.calls.count(method)

    def settle(self) -> None:
        """Finish everything under way with success."""
        for server_id, server in self.servers.items():
            if server.to is not None:
                self.change(server_id, state=server.to, task=None)
                server.to = None
                server.records = [replace(r, finished=True) for r in server.records]

    def fail(self, server_id: str, message: str, state: VmState | None = VmState.ERROR) -> None:
        """Finish what is under way on a server with a failure; state None: as it was before."""
        server = self.servers[server_id]
        fault = Fault(code=500, message=message, at=self.now)
        seen = {"state": state, "fault": fault} if state is VmState.ERROR else {}
        self.change(server_id, task=None, **seen)
        server.to = None
        server.records[0] = replace(server.records[0], failed=True, finished=True, message=message)

    def change(self, server_id: str, **fields: Any) -> None:
        """Change a server behind everybody's back."""
        server = self.servers[server_id]
        changes = {"updated_at": self.now, **fields}
        server.snapshot = server.snapshot.model_copy(update=changes)

    def vanish(self, server_id: str) -> None:
        """Forget a server: no answer ever shows it again."""
        del self.servers[server_id]

    def add(self, name: str, state: VmState = VmState.ACTIVE, mark: Mark | None = None) -> str:
        """A server that is simply there; its id."""
        server_id = f"server-{next(self._ids)}"
        snapshot = VmSnapshot(
            server_id=server_id,
            name=name,
            state=state,
            created_at=self.now,
            updated_at=self.now,
        )
        self.servers[server_id] = FakeServer(snapshot, mark, self.now)
        return server_id

    def leave(
        self,
        kind: ResourceKind,
        mark: Mark | None = None,
        server_id: str | None = None,
        name: str = "",
    ) -> Resource:
        """A port, volume or floating IP that is simply there. An unnamed port is the cloud's own."""
        resource = Resource(kind, f"{kind}-{next(self._ids)}", name, mark, server_id)
        self.resources[resource.id] = resource
        return resource

    def alive(self) -> list[FakeServer]:
        """The servers that are not deleted, oldest first, also those that do not show yet."""
        return [s for s in self.servers.values() if s.state is not VmState.DELETED]

    def shown(self) -> list[FakeServer]:
        """The servers that answers may show, deleted ones too."""
        return [s for s in self.servers.values() if s.shows_from <= self.clock()]

    def take(self, method: str, server_id: str, to: VmState, **fields: Any) -> Issued:
        """Begin an action on a server."""
        self.change(server_id, **fields)
        server = self.servers[server_id]
        server.to = to
        request = f"req-cloud-{next(self._ids)}"
        if self.records_kept:
            record = ActionRecord(method, request, self.now, failed=False, finished=False)
            server.records.insert(0, record)
        return Issued(server_id, self.now, request)

    def present(self, server_id: str) -> FakeServer:
        """The server; Terminal(NO_SERVER) if it does not show, as a driver answers a 404."""
        server = self.servers.get(server_id)
        if server is None or server not in self.shown() or server.state is VmState.DELETED:
            raise Terminal(ErrorCode.NO_SERVER, f"Instance {server_id} could not be found.")
        return server

    async def answer(self, method: str, effect: Callable[[], T]) -> T:
        """One call: counted, held at its gate, failed before or after its effect if ordered."""
        self.calls.append(method)
        self.arrived[method].set()
        if method in self.gates:
            await self.gates[method].wait()
        ordered = self._faults[method].popleft() if self._faults[method] else Ordered()
        if ordered.error is not None and not ordered.after_effect:
            raise ordered.error
        before = set(self.servers)
        result = effect()
        for server_id in self.servers.keys() - before:
            self.servers[server_id].shows_from += ordered.late
        ordered.meanwhile()
        if ordered.error is not None:
            raise ordered.error
        return result


class ReadOnlyDriver(Driver):
    """A driver that can do no more than every driver must."""

    def __init__(self, cloud: FakeCloud, account: str = "demo") -> None:
        self.cloud = cloud
        self.account = account
        self.closed = False

    async def create(self, mark: Mark, wanted: Create, request_id: str) -> Issued:
        def effect() -> Issued:
            server_id = self.cloud.add(wanted.name, VmState.BUILDING, mark)
            return self.cloud.take(
                "create",
                server_id,
                VmState.ACTIVE,
                task="spawning",
                flavor=wanted.flavor,
                image=wanted.image,
                metadata=wanted.metadata,
                tags=tuple(wanted.tags),
                description=wanted.description,
            )

        return await self._order("create", request_id, effect)

    async def delete(self, server_id: str, request_id: str) -> Issued:
        def effect() -> Issued:
            try:
                self.cloud.present(server_id)
            except Terminal:
                return Issued(server_id, self.cloud.now)
            return self.cloud.take("delete", server_id, VmState.DELETED, task="deleting")

        return await self._order("delete", request_id, effect)

    async def update(self, server_id: str, wanted: Update, request_id: str) -> Issued:
        def effect() -> Issued:
            self.cloud.present(server_id)
            fields = wanted.model_dump(exclude={"type"}, exclude_none=True)
            if "tags" in fields:
                fields["tags"] = tuple(fields["tags"])
            self.cloud.change(server_id, **fields)
            return Issued(server_id, self.cloud.now, "req-cloud-update")

        return await self._order("update", request_id, effect)

    async def find(self, mark: Mark) -> Looked:
        return await self.cloud.answer(
            "find",
            lambda: self._looked(
                s
                for s in self.cloud.shown()
                if s.mark and s.mark.vm_id == mark.vm_id and s.state is not VmState.DELETED
            ),
        )

    async def look(self, server_id: str) -> Looked:
        return await self.cloud.answer(
            "look",
            lambda: self._looked(
                s
                for s in self.cloud.shown()
                if s.snapshot.server_id == server_id and s.state is not VmState.DELETED
            ),
        )

    async def sweep(self, since: datetime | None) -> AsyncIterator[Looked]:
        def changed(server: FakeServer) -> bool:
            if since is None:
                return server.state is not VmState.DELETED
            return server.snapshot.updated_at is not None and server.snapshot.updated_at >= since

        yield await self.cloud.answer(
            "sweep", lambda: self._looked(s for s in self.cloud.shown() if changed(s))
        )

    async def catalog(self) -> AsyncIterator[CatalogEvent]:
        for item in await self.cloud.answer("catalog", lambda: list(self.cloud.items)):
            yield item

    async def actions(
        self, server_id: str, request_id: str | None = None
    ) -> Sequence[ActionRecord]:
        def effect() -> list[ActionRecord]:
            server = self.cloud.servers.get(server_id)
            records = server.records if server else []
            return [r for r in records if request_id in (None, r.request_id)]

        return await self.cloud.answer("actions", effect)

    async def ping(self) -> None:
        await self.cloud.answer("ping", lambda: None)

    async def close(self) -> None:
        self.closed = True

    async def _order(self, method: str, request_id: str, effect: Callable[[], Issued]) -> Issued:
        self.cloud.requests.append(request_id)
        return await self.cloud.answer(method, effect)

    def _looked(self, servers: Iterable[FakeServer]) -> Looked:
        return Looked([Seen(s.snapshot, s.mark) for s in servers], self.cloud.now)


class FakeDriver(ReadOnlyDriver, Powers, Reboots, Pauses, Inventories, Glances, Rests, Tenancies):
    """A driver with every ability."""

    async def glance(self, since: datetime | None, known: Fingerprints) -> AsyncIterator[Glanced]:
        async for looked in self.sweep(since):
            yield Glanced([self._glimpse(seen) for seen in looked.servers], looked.clock)

    def _glimpse(self, seen: Seen) -> Glimpse:
        def read() -> Seen:
            self.cloud.reads += 1
            return seen

        said = f"{seen.snapshot.model_dump_json()}{seen.mark}"
        return Glimpse(seen.snapshot.server_id or "", said.encode(), read)

    async def inventory(self) -> AsyncIterator[Sequence[Resource]]:
        yield await self.cloud.answer("inventory", lambda: list(self.cloud.resources.values()))

    async def belongings(self, mark: Mark, server_id: str | None) -> Sequence[Resource]:
        def effect() -> list[Resource]:
            found = self.cloud.resources.values()
            return [r for r in found if r.mark == mark or _made_for(r, server_id)]

        return await self.cloud.answer("belongings", effect)

    async def remove(self, resource: Resource, request_id: str) -> None:
        def effect() -> None:
            there = self.cloud.resources.get(resource.id)
            alive = {s.snapshot.server_id for s in self.cloud.alive()}
            if there is not None and (there != resource or there.server_id in alive):
                raise Retry(ErrorCode.CLOUD_BUSY, f"The {resource.kind} is in use.")
            self.cloud.resources.pop(resource.id, None)

        self.cloud.requests.append(request_id)
        await self.cloud.answer("remove", effect)

    async def tenant(self) -> str:
        return await self.cloud.answer("tenant", lambda: self.cloud.tenant)

    def rests_until(self) -> datetime | None:
        resting = self.cloud.resting
        return resting if resting is not None and resting > self.cloud.clock() else None

    async def start(self, server_id: str, request_id: str) -> Issued:
        return await self._power("start", server_id, VmState.ACTIVE, "powering-on", request_id)

    async def stop(self, server_id: str, request_id: str) -> Issued:
        return await self._power("stop", server_id, VmState.STOPPED, "powering-off", request_id)

    async def pause(self, server_id: str, request_id: str) -> Issued:
        return await self._power("pause", server_id, VmState.PAUSED, "pausing", request_id)

    async def unpause(self, server_id: str, request_id: str) -> Issued:
        return await self._power("unpause", server_id, VmState.ACTIVE, "unpausing", request_id)

    async def reboot(self, server_id: str, *, hard: bool, request_id: str) -> Issued:
        task = "rebooting_hard" if hard else "rebooting"

        def effect() -> Issued:
            self.cloud.present(server_id)
            return self.cloud.take("reboot", server_id, VmState.ACTIVE, task=task)

        return await self._order("reboot", request_id, effect)

    async def _power(
        self, method: str, server_id: str, to: VmState, task: str, request_id: str
    ) -> Issued:
        def effect() -> Issued:
            if self.cloud.present(server_id).state is to:
                return Issued(server_id, self.cloud.now)
            return self.cloud.take(method, server_id, to, task=task)

        return await self._order(method, request_id, effect)


def _made_for(resource: Resource, server_id: str | None) -> bool:
    """Whether it is a port that the cloud made for the server."""
    made = resource.kind == "port" and resource.mark is None and not resource.name
    return made and server_id is not None and resource.server_id == server_id
