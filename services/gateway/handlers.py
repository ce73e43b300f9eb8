"""What the gateway hears: VM events and the catalog, each kept in the read model."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.consumer import Batch
from chassis.inbox import take_many
from chassis.leases import Clock
from chassis.rows import insert_into
from contracts.catalog.events import Flavor, Image, KeyPair, Network
from contracts.message import Body, Message
from contracts.vm.events import Observed
from services.gateway.bell import Bell
from services.gateway.catalog import keep_item
from services.gateway.drift import Drift
from services.gateway.locks import exclusively
from services.gateway.projection import project
from services.gateway.references import References
from services.gateway.tables import EVENTS


class Handlers:
    """Called with what comes, in a transaction."""

    def __init__(self, clock: Clock, bell: Bell, references: References, drift: Drift) -> None:
        self.clock = clock
        self.bell = bell
        self.references = references
        self.drift = drift

    async def on_vm_events(self, session: AsyncSession, batch: Batch) -> None:
        """Keep what happened to VMs and operations, and wake who waits for it."""
        self.bell.ring_after(session)
        now = self.clock()
        fresh = await take_many(session, [message for message, _ in batch], now)
        messages = list({m.id: m for m, _ in batch if m.id in fresh}.values())
        news = await project(session, messages, now)
        await self.drift.notice_many(session, news, now)
        told = [message for message in messages if not isinstance(message.data, Observed)]
        if told:
            # Last of all locks, and the same for all: it makes the order of ids that of commits.
            await exclusively(session, "events")
            await insert_into(session, (EVENTS, [_kept(message, now) for message in told]))

    async def on_catalog(self, session: AsyncSession, message: Message[Body]) -> None:
        """Keep what an account offers."""
        self.references.forget_after(session)
        match message.data:
            case Flavor() | Image() | Network() | KeyPair() as item:
                await keep_item(session, message, item)
            case _:
                pass


def _kept(message: Message[Body], now: datetime) -> dict[str, Any]:
    return {
        "project_id": message.project_id,
        "vm_id": UUID(message.subject),
        "type": message.type,
        "event": followed(message),
        "kept_at": now,
    }


def followed(message: Message[Body]) -> dict[str, Any]:
    """An event as followers get it: CloudEvents' names, without what is only for tracing."""
    said = message.model_dump(mode="json", exclude={"traceparent", "data"})
    said |= {"vm_id": message.subject, "type": message.type}
    return {**said, "data": message.data.model_dump(mode="json", exclude={"type"})}
