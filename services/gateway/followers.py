"""Following events: one reader of the table per process, and as many followers as come.

Each follower has only a place in the sequence, no queue: a slow one costs no memory, one that is far
behind reads pages from the table until it has caught up.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import cached_property
from time import monotonic
from typing import Any
from uuid import UUID

from fastapi.sse import format_sse_event
from prometheus_client import Gauge
from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, as_service
from services.gateway.bell import Bell
from services.gateway.resources import FollowedEvent
from services.gateway.tables import EVENTS

FOLLOWERS = Gauge("hostler_sse_followers", "Open GET /v1/events streams.")
POLL_SECONDS = 0.3
PAGE = 500
KEPT = 2000
QUIET_SECONDS = 10.0
LOOK_SECONDS = 5.0
"""How often a follower that nothing came for looks whether it was quiet for too long."""
RESET = "hostler.reset"
WILDCARD = ".*"


@dataclass(frozen=True)
class Kept:
    """An event in its place in the sequence."""

    id: int
    project_id: str
    vm_id: UUID
    type: str
    event: dict[str, Any]

    @cached_property
    def line(self) -> bytes:
        """As it is sent; made once, for however many followers."""
        data = FollowedEvent.model_validate(self.event).model_dump_json()
        return format_sse_event(id=str(self.id), event=self.type, data_str=data)


@dataclass(frozen=True)
class Reset:
    """The follower's place is not in what is kept any more; it goes on behind `id`."""

    id: int

    @property
    def line(self) -> bytes:
        """As it is sent."""
        return format_sse_event(id=str(self.id), event=RESET, data_str=f'{{"id":{self.id}}}')


@dataclass(frozen=True)
class Wanted:
    """What a follower is told: events of one project, of one VM and of some types if so asked."""

    project_id: str
    vm_id: UUID | None = None
    types: frozenset[str] = field(default_factory=frozenset[str])

    def covers(self, kept: Kept) -> bool:
        """Whether the follower wants this one."""
        return (
            kept.project_id == self.project_id
            and self.vm_id in {None, kept.vm_id}
            and (not self.types or any(_is(kept.type, kind) for kind in self.types))
        )

    def narrow(self, query: Select[Any]) -> Select[Any]:
        """The same as conditions of a query."""
        query = query.where(EVENTS.c.project_id == self.project_id)
        if self.vm_id is not None:
            query = query.where(EVENTS.c.vm_id == self.vm_id)
        if self.types:
            query = query.where(or_(*[_like(kind) for kind in sorted(self.types)]))
        return query


def _is(kind: str, wanted: str) -> bool:
    if wanted.endswith(WILDCARD):
        return kind.startswith(wanted.removesuffix("*"))
    return kind == wanted


def _like(wanted: str) -> Any:
    if wanted.endswith(WILDCARD):
        return EVENTS.c.type.startswith(wanted.removesuffix("*"), autoescape=True)
    return EVENTS.c.type == wanted


class Tail:
    """The newest events, as they come."""

    def __init__(self, database: Database, bell: Bell, stopping: asyncio.Event) -> None:
        self.database = database
        self.bell = bell
        self.stopping = stopping
        self._moved = asyncio.Event()
        self._rung_at = monotonic()
        self._newest: int | None = None
        self._recent: list[Kept] = []
        self._since = 0
        """`_recent` holds every event behind this one."""

    @property
    def in_memory(self) -> int:
        """How many events are held for followers that are not far behind."""
        return len(self._recent)

    async def watch(self) -> None:
        """Read what is new, all the while."""
        try:
            while True:
                if await self._read() < PAGE:
                    await self.bell.wait(POLL_SECONDS)
                if self.stopping.is_set() or monotonic() > self._rung_at + LOOK_SECONDS:
                    self._ring()
        finally:
            self._ring()

    def _ring(self) -> None:
        """One timer for all: a thousand followers that each had their own would be slow to wake."""
        self._rung_at = monotonic()
        self._moved.set()
        self._moved = asyncio.Event()

    async def follow(self, wanted: Wanted, behind: int | None) -> AsyncGenerator[Kept | Reset]:
        """What is wanted and comes behind the event `behind` (None: from now on), in order.

        Ends when the service stops. Begins with a Reset if something behind `behind` is not kept
        any more, or was never said.
        """
        async for some in self.batches(wanted, behind):
            for each in some:
                yield each

    async def batches(
        self, wanted: Wanted, behind: int | None
    ) -> AsyncGenerator[list[Kept | Reset]]:
        """The same by what there is at once; an empty one where nothing came for a while."""
        with FOLLOWERS.track_inprogress():
            place = await self._place(behind)
            if behind is not None and place != behind:
                yield [Reset(place)]
            told_at = monotonic()
            while not self.stopping.is_set():
                events: list[Kept] = []
                if place >= (upto := self._newest or 0):
                    await self._moved.wait()
                else:
                    events, place = await self._between(wanted, place, upto)
                if events or monotonic() > told_at + QUIET_SECONDS:
                    told_at = monotonic()
                    yield [*events]

    async def _place(self, behind: int | None) -> int:
        while self._newest is None and not self.stopping.is_set():
            await self._moved.wait()
        newest = self._newest or 0
        if behind is None:
            return newest
        if behind > newest:
            await self._read()  # another replica may be ahead of this one
            newest = self._newest or 0
        oldest = await self._oldest()
        if behind > newest:
            return newest
        return behind if oldest is None or behind >= oldest - 1 else oldest - 1

    async def _oldest(self) -> int | None:
        with as_service():
            async with self.database.reading() as session:
                return await session.scalar(select(func.min(EVENTS.c.id)))

    async def _between(self, wanted: Wanted, place: int, upto: int) -> tuple[list[Kept], int]:
        if place >= self._since:
            first = bisect_right(self._recent, place, key=_id)
            return [kept for kept in self._recent[first:] if wanted.covers(kept)], upto
        query = wanted.narrow(_events(place).where(EVENTS.c.id <= upto))
        async with self.database.reading() as session:
            found = await _kept(session, query)
        return found, upto if len(found) < PAGE else found[-1].id

    async def _read(self) -> int:
        """What is new, of all projects, whoever's request it is that asks."""
        with as_service():
            return await self._read_all()

    async def _read_all(self) -> int:
        async with self.database.reading() as session:
            newest = self._newest
            if newest is None:
                self._newest = self._since = newest = await session.scalar(_NEWEST) or 0
                self._ring()
            found = await _kept(session, _events(newest))
        if found:
            self._keep(found)
        return len(found)

    def _keep(self, found: list[Kept]) -> None:
        self._recent.extend(kept for kept in found if kept.id > (self._newest or 0))
        if (many := len(self._recent) - KEPT) > 0:
            self._since = self._recent[many - 1].id
            del self._recent[:many]
        self._newest = max(self._newest or 0, found[-1].id)
        self._ring()


def _id(kept: Kept) -> int:
    return kept.id


_NEWEST = select(func.max(EVENTS.c.id))


def _events(behind: int) -> Select[Any]:
    return select(EVENTS).where(EVENTS.c.id > behind).order_by(EVENTS.c.id).limit(PAGE)


async def _kept(session: AsyncSession, query: Select[Any]) -> list[Kept]:
    rows = (await session.execute(query)).all()
    return [Kept(r.id, r.project_id, r.vm_id, r.type, r.event) for r in rows]
