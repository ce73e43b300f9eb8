"""What accounts hold that is no VM's, as it is told: orphans, and servers that Hostler does not know."""

from datetime import datetime
from typing import Any

from sqlalchemy import Table, delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from contracts.inventory.events import (
    OrphanFound,
    OrphanGone,
    OrphanRemoved,
    OrphanRemoving,
    UnmanagedServer,
)
from contracts.message import Body, Message
from services.gateway.tables import ORPHANS, UNMANAGED


async def on_inventory(session: AsyncSession, message: Message[Body]) -> None:
    """Keep what is told of an orphan or a server; an older telling changes nothing."""
    match message.data:
        case OrphanFound() as found:
            await _keep_orphan(session, message, found)
        case OrphanRemoving(since=since, attempts=attempts) as removing:
            said = {"removing_since": since, "removal_attempts": attempts}
            await _keep_orphan(session, message, removing, **said)
        case OrphanGone() | OrphanRemoved() as gone:
            mine = (ORPHANS.c.account == message.account) & (ORPHANS.c.kind == gone.kind)
            mine &= (ORPHANS.c.id == gone.id) & (ORPHANS.c.said_at <= message.time)
            end = {"gone_at": message.time, "said_at": message.time}
            end |= {"removing_since": None, "removal_attempts": None}
            await session.execute(update(ORPHANS).where(mine).values(end))
        case UnmanagedServer() as server:
            await _keep_server(session, message, server)
        case _:
            pass


async def forget_gone(session: AsyncSession, before: datetime) -> None:
    """Drop the orphans and servers that went before then.

    Not at once: a telling that comes late, or again, must find that a later one was heard.
    """
    for table in (ORPHANS, UNMANAGED):
        await session.execute(delete(table).where(table.c.gone_at < before))


async def _keep_orphan(
    session: AsyncSession,
    message: Message[Body],
    found: OrphanFound | OrphanRemoving,
    **more: object,
) -> None:
    """`more`: what is told besides what it is."""
    said = found.model_dump(include={"name", "vm_id", "reason", "proven", "found_at"})
    said |= {"project_id": message.project_id, "gone_at": None, "said_at": message.time}
    said |= more
    keys = {"account": message.account, "kind": found.kind, "id": found.id}
    await _keep(session, ORPHANS, keys, said)


async def _keep_server(
    session: AsyncSession, message: Message[Body], server: UnmanagedServer
) -> None:
    said: dict[str, Any] = {
        "name": server.vm.name,
        "folded_name": server.vm.name.casefold(),
        "state": server.vm.state.value,
        "vm": server.vm.model_dump(mode="json"),
        "gone_at": message.time if server.gone else None,
        "said_at": message.time,
    }
    keys = {"account": message.account, "id": server.server_id}
    await _keep(session, UNMANAGED, keys, said)


async def _keep(
    session: AsyncSession, table: Table, keys: dict[str, Any], said: dict[str, Any]
) -> None:
    row = insert(session, table).values(**keys, **said)
    newer = table.c.said_at <= said["said_at"]
    await session.execute(
        row.on_conflict_do_update(index_elements=list(keys), set_=said, where=newer)
    )
