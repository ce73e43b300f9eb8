"""Takes one answer of the cloud, page by page: what is as it was is passed over, the rest written."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from chassis.errors import Retry
from contracts.errors import ErrorCode
from drivers.base import Glanced, Looked, Seen
from services.sync import metrics, strangers, watches
from services.sync.holding import guarded
from services.sync.listing import listed
from services.sync.patience import Patience, old_news
from services.sync.portions import portions
from services.sync.recognition import Memory, Said, said
from services.sync.recording import Sightings, news, record
from services.sync.watching import Watching

Kind = Literal["changes", "first", "all"]
"""What changed since a moment; or everything, for the first time or again."""


class Answer:
    """One answer while it is taken.

    For a list of everything the tables are read once, and `seen` gathers who is there; for a list
    of changes they are asked about those that it shows.
    """

    def __init__(self, watching: Watching, patience: Patience, memory: Memory, kind: Kind) -> None:
        self.watching = watching
        self.patience = patience
        self.memory = memory
        self.kind = kind
        self.seen: set[str] = set()
        self.said: Said | None = None
        """What was said of all servers before the second page came; None for a list of changes."""

    async def take(self, since: datetime | None) -> datetime:
        """Take the whole answer; the cloud's clock when it was begun."""
        at: datetime | None = None
        async for page in listed(self.watching, since, self.memory.fingerprint):
            at = at or page.clock
            servers = await self._unknown(page)
            self.seen.update(each.snapshot.server_id or "" for each in servers)
            for part in portions(servers):
                await self._take(part, at)
        if at is None:
            raise Retry(ErrorCode.CLOUD_UNAVAILABLE, "the sweep had no page, hence no clock")
        if self.kind != "changes":
            self.memory.keep(self.seen)
        return at

    async def _unknown(self, page: Looked | Glanced) -> Sequence[Seen]:
        """The servers of a page that may show news."""
        if self.kind != "changes" and self.said is None:
            self.said = await self._said(None)
        if isinstance(page, Looked):
            return page.servers
        there = self.said or await self._said(self.memory.familiar(page.servers))
        fresh = [each for each in page.servers if not self.memory.knows(each, there)]
        passed = {each.server_id for each in page.servers} - {each.server_id for each in fresh}
        self.seen |= passed
        metrics.SERVERS.labels(self.watching.account).inc(len(passed & there.vms.keys()))
        return self.memory.read(fresh)

    async def _said(self, server_ids: Sequence[str] | None) -> Said:
        if server_ids is not None and not server_ids:
            return Said({}, {})
        async with self.watching.database.reading() as session:
            return await said(session, self.watching.account, server_ids)

    async def _take(self, servers: Sequence[Seen], at: datetime) -> None:
        async with self.watching.database.reading() as session:
            shown = await news(session, self.watching, servers, at)
            found = shown.found
            watched = await watches.of_vms(session, found.keys()) if found else {}
        if self.kind == "changes":
            found = self.patience.ripe(found, watched, self.watching.clock())
        elif self.kind == "all":
            found = old_news(found, at - self.watching.settings.overlap)
        if found or shown.strange:
            await self._write(found, shown.strange, at)

    async def _write(self, found: Sightings, strange: strangers.Strange, at: datetime) -> None:
        watching = self.watching
        async with guarded(watching.lease) as session:
            if found:
                await record(session, watching, found, at)
            if strange:
                await strangers.record(session, watching.account, strange, watching.clock)
