"""What the gateway hears: VM events and the catalog, each kept in the read model."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.leases import Clock
from contracts.catalog.events import Flavor, Image, KeyPair, Network
from contracts.message import Body, Message
from contracts.operation.events import Cancelled, Failed, Issued, Retrying, Started, Succeeded
from contracts.vm.events import Changed, Observed
from services.gateway.bell import Bell
from services.gateway.catalog import keep_item
from services.gateway.locks import exclusively
from services.gateway.projection import project_operation, project_snapshot
from services.gateway.references import References
from services.gateway.tables import EVENTS


class Handlers:
    """Called once for each message, in a transaction."""

    def __init__(self, clock: Clock, bell: Bell, references: References) -> None:
        self.clock = clock
        self.bell = bell
        self.references = references

    async def on_vm_event(self, session: AsyncSession, message: Message[Body]) -> None:
        """Keep what happened to a VM or an operation, and wake who waits for it."""
        self.bell.ring_after(session)
        # First of all locks, and the same for all: it makes the order of ids that of commits.
        await exclusively(session, "events")
        match message.data:
            case Changed() | Observed() as seen:
                await project_snapshot(session, message, seen, self.clock())
            case Started() | Issued() | Retrying() | Succeeded() | Failed() | Cancelled() as told:
                await project_operation(session, message, told, self.clock())
            case _:
                pass
        if not isinstance(message.data, Observed):
            await self._tell_followers(session, message)

    async def on_catalog(self, session: AsyncSession, message: Message[Body]) -> None:
        """Keep what an account offers."""
        self.references.forget_after(session)
        match message.data:
            case Flavor() | Image() | Network() | KeyPair() as item:
                await keep_item(session, message, item)
            case _:
                pass

    async def _tell_followers(self, session: AsyncSession, message: Message[Body]) -> None:
        row: dict[str, Any] = {
            "project_id": message.project_id,
            "vm_id": UUID(message.subject),
            "type": message.type,
            "event": followed(message),
            "kept_at": self.clock(),
        }
        await session.execute(EVENTS.insert(), row)


def followed(message: Message[Body]) -> dict[str, Any]:
    """An event as followers get it: CloudEvents' names, without what is only for tracing."""
    said = message.model_dump(mode="json", exclude={"traceparent", "data"})
    said |= {"vm_id": message.subject, "type": message.type}
    return {**said, "data": message.data.model_dump(mode="json", exclude={"type"})}
