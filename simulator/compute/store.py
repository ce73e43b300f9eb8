"""All servers, found by id, by age and by last change; moved on in time without a task per server."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from simulator.compute.model import Server, Step
from simulator.tagged import Tagged

KEEP_DELETED = 20_000  # deleted servers remembered for changes-since

_by_seq = attrgetter("seq")


@dataclass(slots=True)
class Usage:
    """What a project's servers use; `ram` in MiB."""

    instances: int = 0
    cores: int = 0
    ram: int = 0


class Servers:
    """The table of servers.

    `advance` applies every step that is due, with the time at which it was due, so that reading
    lazily shows what a scheduler would have done. `on_step` carries out a step's effect.
    """

    def __init__(self, on_step: Callable[[Server, Step], None]) -> None:
        self._on_step = on_step
        self._all: dict[str, Server] = {}
        self._live: dict[str, list[Server]] = {}
        self._usage: dict[str, Usage] = {}
        self._tagged = Tagged()
        self._tags: dict[str, Sequence[str]] = {}
        self._changed: dict[str, None] = {}  # ids, the latest change last
        self._gone: dict[str, None] = {}  # ids of deleted ones, the oldest first
        self._due: list[tuple[float, int, int, str]] = []
        self._views: dict[str, dict[object, bytes]] = {}
        self._seq = 0
        self.dirty: set[str] = set()
        self.renewed = True  # a new table: nothing of an older one is left

    def next_seq(self) -> int:
        """A number greater than every one before."""
        self._seq += 1
        return self._seq

    def add(self, server: Server) -> None:
        """Take in a server, new or read from a snapshot, with the plan it has."""
        self._seq = max(self._seq, server.seq)
        self._all[server.id] = server
        self._changed[server.id] = None
        self.dirty.add(server.id)
        if server.deleted:
            self._gone[server.id] = None
            return
        insort(self._live.setdefault(server.project_id, []), server, key=_by_seq)
        self._count(server, 1)
        self._index(server, server.tags)
        self._schedule(server)

    def find(self, server_id: str) -> Server | None:
        """A server, also a deleted one."""
        return self._all.get(server_id)

    def everything(self) -> Iterator[Server]:
        """Every server, also the deleted ones."""
        return iter(self._all.values())

    def live(self, project_id: str | None) -> list[Server]:
        """Those that exist, of a project or of all, the oldest first."""
        if project_id is not None:
            return self._live.get(project_id, [])
        return sorted((s for servers in self._live.values() for s in servers), key=_by_seq)

    @property
    def count(self) -> int:
        """How many exist."""
        return sum(len(servers) for servers in self._live.values())

    def usage(self, project_id: str) -> Usage:
        """What a project's servers use; one counts until it is deleted."""
        return self._usage.get(project_id) or Usage()

    def tagged(self, tag: str) -> list[Server]:
        """Those that exist and carry a tag, the oldest first."""
        return sorted((self._all[i] for i in self._tagged.ids(tag)), key=_by_seq)

    def after(self, project_id: str, server: Server | None) -> Iterator[Server]:
        """A project's, the newest first, from the one before `server` on."""
        servers = self._live.get(project_id, [])
        end = len(servers) if server is None else bisect_left(servers, server.seq, key=_by_seq)
        return (servers[i] for i in range(end - 1, -1, -1))

    def _count(self, server: Server, sign: int) -> None:
        usage = self._usage.setdefault(server.project_id, Usage())
        usage.instances += sign
        usage.cores += sign * server.flavor.vcpus
        usage.ram += sign * server.flavor.ram

    def _index(self, server: Server, tags: Sequence[str]) -> None:
        had = self._tags.pop(server.id, ())
        if had or tags:
            self._tagged.drop(server.id, had)
            self._tagged.put(server.id, tags)
        if tags:
            self._tags[server.id] = tuple(tags)

    def changed_since(self, second: float) -> list[Server]:
        """Those whose `updated` is not before that, deleted ones too; costs what changed."""
        found: list[Server] = []
        for server_id in reversed(self._changed):
            server = self._all[server_id]
            if int(server.updated) < second:
                break
            found.append(server)
        return sorted(found, key=_by_seq)

    def follow(self, server: Server, plan: list[Step]) -> None:
        """Give a server its next steps; what it was about to do is forgotten."""
        server.epoch += 1
        server.plan = plan
        self.dirty.add(server.id)
        self._schedule(server)

    @property
    def pending(self) -> int:
        """How many steps wait for their time."""
        return len(self._due)

    def _schedule(self, server: Server) -> None:
        if server.plan:
            entry = (server.plan[0].due, server.seq, server.epoch, server.id)
            heapq.heappush(self._due, entry)

    def advance(self, now: float) -> None:
        """Apply every step that is due by now, in the order of their times."""
        while self._due and self._due[0][0] <= now:
            _, _, epoch, server_id = heapq.heappop(self._due)
            server = self._all.get(server_id)
            if server is not None and server.epoch == epoch and server.plan:
                self._apply(server, server.plan.pop(0))
                self._schedule(server)

    def _apply(self, server: Server, step: Step) -> None:
        server.task_state = step.task_state
        if step.vm_state is not None:
            server.vm_state = step.vm_state
        if step.power_state is not None:
            server.power_state = step.power_state
        self._on_step(server, step)
        self.touch(server, step.due)

    def touch(self, server: Server, at: float) -> None:
        """A change that Nova dates: `updated` moves."""
        server.updated = max(server.updated, at)
        self._changed.pop(server.id, None)
        self._changed[server.id] = None
        self.edit(server)

    def edit(self, server: Server) -> None:
        """A change that Nova does not date (tags, a deleted metadata item)."""
        self._views.pop(server.id, None)
        self.dirty.add(server.id)
        if not server.deleted and tuple(server.tags) != self._tags.get(server.id, ()):
            self._index(server, server.tags)

    def bury(self, server: Server) -> None:
        """The server is deleted: out of the lists, kept for changes-since."""
        self._unlist(server)
        self._gone[server.id] = None
        while len(self._gone) > KEEP_DELETED:
            self._drop(next(iter(self._gone)))

    def vanish(self, server: Server) -> None:
        """The server is gone without a trace."""
        server.epoch += 1
        self._unlist(server)
        self._drop(server.id)

    def _unlist(self, server: Server) -> None:
        servers = self._live.get(server.project_id, [])
        index = bisect_left(servers, server.seq, key=_by_seq)
        if index < len(servers) and servers[index] is server:
            del servers[index]
            self._count(server, -1)
            self._index(server, ())

    def _drop(self, server_id: str) -> None:
        for table in (self._all, self._changed, self._gone, self._views):
            table.pop(server_id, None)
        self.dirty.add(server_id)

    def cached(self, server: Server, key: object, render: Callable[[], bytes]) -> bytes:
        """The server's JSON in one form, rendered once per change."""
        views = self._views.setdefault(server.id, {})
        found = views.get(key)
        if found is None:
            found = views[key] = render()
        return found
