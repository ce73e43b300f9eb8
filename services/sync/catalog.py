"""Keeps known what an account offers: flavors, images, networks, key pairs."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from chassis.errors import HostlerError, Retry
from chassis.ids import new_id
from chassis.leases import LeaseLostError
from chassis.outbox import say
from contracts.catalog.events import CatalogEvent
from contracts.message import Body, Message
from contracts.topics import types
from services.sync import metrics
from services.sync.giving_way import may_list
from services.sync.holding import guarded, while_held
from services.sync.portions import portions
from services.sync.tables import ACCOUNTS, CATALOG, Account, CatalogItem
from services.sync.watching import Watching

LOG = logging.getLogger(__name__)
POLL_SECONDS = 1.0
RETRY_SECONDS = 5.0
Key = tuple[str, str]
"""Kind and id."""
Items = Mapping[Key, CatalogEvent]


def kind(item: CatalogEvent) -> str:
    """flavor, image, network or keypair."""
    return item.wire_name().split(".")[1]


class Catalog:
    """Lists one account's offers. Runs in every replica; the lease lets one work."""

    def __init__(self, watching: Watching) -> None:
        self.account = watching.account
        self.driver = watching.driver
        self.lease = watching.lease
        self.interval = watching.settings.catalog_interval_seconds
        self.clock = watching.clock

    async def run(self) -> None:
        """List whenever it is time, for ever."""
        try:
            while True:
                if await self.lease.hold() and await self._is_due():
                    await while_held(self.lease, self.list_once())
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await self.lease.release()

    async def list_once(self) -> bool:
        """List now and say what is new, changed or gone; whether the list was complete.

        One that breaks off says what it showed, and never that something is gone.
        """
        if not await self.lease.hold():
            return False
        try:
            listed, failure = await self._list()
            await self._compare(listed, complete=failure is None)
            await self._plan(failure)
        except LeaseLostError:
            return False
        return failure is None

    async def _is_due(self) -> bool:
        async with self.lease.database.reading() as session:
            account = await session.get(Account, self.account)
        due = account.next_catalog_at if account else None
        return may_list(account, due, timedelta(seconds=self.interval), self.clock())

    async def _list(self) -> tuple[Items, HostlerError | None]:
        listed: dict[Key, CatalogEvent] = {}
        try:
            async for item in self.driver().catalog():
                listed[kind(item), item.id] = item
        except HostlerError as error:
            LOG.warning("the catalog of %s is incomplete: %s", self.account, error)
            return listed, error
        return listed, None

    async def _compare(self, listed: Items, *, complete: bool) -> None:
        async with self.lease.database.reading() as session:
            mine = select(CatalogItem).where(CatalogItem.account == self.account)
            said = {(row.kind, row.id): row.data for row in await session.scalars(mine)}
        fresh = [item for key, item in listed.items() if said.get(key) != _data(item)]
        gone = [_gone(k, said[k, i]) for k, i in said.keys() - listed.keys()] if complete else []
        for part in portions([*fresh, *gone]):
            async with guarded(self.lease) as session:
                await self._say(session, part)

    async def _say(self, session: AsyncSession, items: Sequence[CatalogEvent]) -> None:
        left = [(self.account, kind(item), item.id) for item in items if item.gone]
        key = tuple_(CatalogItem.account, CatalogItem.kind, CatalogItem.id)
        if left:
            await session.execute(delete(CatalogItem).where(key.in_(left)))
        for item in items:
            if not item.gone:
                await self._keep(session, item)
        await say(session, *(self._message(item) for item in items))

    async def _keep(self, session: AsyncSession, item: CatalogEvent) -> None:
        row = {"account": self.account, "kind": kind(item), "id": item.id, "data": _data(item)}
        keys = ["account", "kind", "id"]
        upsert = insert(session, CATALOG).values(row)
        await session.execute(
            upsert.on_conflict_do_update(index_elements=keys, set_={"data": row["data"]})
        )

    def _message(self, item: CatalogEvent) -> Message[Body]:
        return Message[Body](
            id=new_id(),
            source="hostler/sync",
            time=self.clock(),
            subject=f"{self.account}/{kind(item)}/{item.id}",
            project_id="",
            account=self.account,
            actor="cloud",
            data=item,
        )

    async def _plan(self, failure: HostlerError | None) -> None:
        """When to list again: at the interval, or soon after a failure."""
        metrics.CATALOGS.labels(self.account, "failed" if failure else "complete").inc()
        seconds = min(RETRY_SECONDS, self.interval) if failure else self.interval
        asked = failure.after if isinstance(failure, Retry) else None
        due = self.clock() + (asked or timedelta(seconds=seconds))
        async with guarded(self.lease) as session:
            new = {"account": self.account, "failures": 0, "error": "", "next_catalog_at": due}
            upsert = insert(session, ACCOUNTS).values(new)
            again = {"next_catalog_at": due}
            await session.execute(
                upsert.on_conflict_do_update(index_elements=["account"], set_=again)
            )


def _data(item: CatalogEvent) -> dict[str, Any]:
    return item.model_dump(mode="json", exclude={"type"})


def _gone(of_kind: str, data: dict[str, Any]) -> CatalogEvent:
    body = types()[f"catalog.{of_kind}.v1"]
    return cast("CatalogEvent", body.model_validate({**data, "gone": True}))
