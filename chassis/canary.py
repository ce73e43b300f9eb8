"""The canary: every service that hears one says so, by the way that all its messages take."""

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.consumer import Batch, BatchHandler
from chassis.ids import new_id
from chassis.leases import Clock
from chassis.outbox import say
from contracts.canary import CanaryEvent, Heard, Sent
from contracts.message import Message

SUBJECT = "canary"


def canary(service: str, data: CanaryEvent, clock: Clock) -> Message[CanaryEvent]:
    """What a service says of a canary."""
    return Message(
        id=new_id(),
        source=f"hostler/{service}",
        time=clock(),
        subject=SUBJECT,
        actor=f"hostler/{service}",
        data=data,
    )


def answer(service: str, clock: Clock) -> BatchHandler:
    """Answers the newest canary of a batch. One that comes again is answered again: no harm."""

    async def on_batch(session: AsyncSession, batch: Batch) -> None:
        sent = [message for message, _ in batch if isinstance(message.data, Sent)]
        if sent:
            newest = max(sent, key=lambda message: message.time)
            heard = Heard(canary=newest.id, service=service, sent_at=newest.time)
            await say(session, canary(service, heard, clock))

    return on_batch
