"""Following what happens: server-sent events, resumable."""

from collections.abc import AsyncIterable
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from services.gateway import documents
from services.gateway.context import Here
from services.gateway.followers import Reset, Wanted
from services.gateway.identity.permission import Viewer
from services.gateway.parameters import EventTypes
from services.gateway.resources import FollowedEvent
from services.gateway.routes.guard import guarded

ROUTER = guarded("/events", "events")
RESET = "hostler.reset"
_PLACE = r"^\d{1,18}$"
_RETRY_MS = 1000
_TOLD = """Follow the project's events as they happen.

Each message's `id` is its place in the sequence; send the last one as `Last-Event-ID` (or
`last_event_id`) to go on behind it, without it the stream begins now. Events are kept for seven
days: a place further back, or one that was never given out, is answered with the event
`hostler.reset` first, whose `id` is where the stream goes on: read the lists again then. Looks at
a VM that found nothing new (`vm.observed.v1`) are not told. A comment every 15 seconds keeps the
connection open; a stopping gateway ends the stream, and clients connect again by themselves."""


async def read_place(
    last_event_id: Annotated[
        str | None, Header(pattern=_PLACE, description="The id of the last event seen.")
    ] = None,
    last_event_id_query: Annotated[
        str | None,
        Query(alias="last_event_id", pattern=_PLACE, description="The same as a parameter."),
    ] = None,
) -> int | None:
    """The place behind which a stream begins; the header, which browsers send, goes first."""
    said = last_event_id or last_event_id_query
    return int(said) if said else None


async def read_wanted(
    *,
    caller: Viewer,
    type: EventTypes,  # noqa: A002 - the parameter's name on the wire
    vm_id: Annotated[UUID | None, Query(description="Of this VM.")] = None,
) -> Wanted:
    """What a follower wants to be told."""
    return Wanted(caller.project_id, vm_id, frozenset(type))


@ROUTER.get(
    "",
    response_class=EventSourceResponse,
    responses=documents.problems(),
    description=_TOLD,
)
async def follow_events(
    request: Request,
    gateway: Here,
    wanted: Annotated[Wanted, Depends(read_wanted)],
    place: Annotated[int | None, Depends(read_place)],
) -> AsyncIterable[ServerSentEvent]:
    """Follow the project's events as they happen."""
    yield ServerSentEvent(retry=_RETRY_MS, comment="connected")
    async for kept in gateway.tail.follow(wanted, place):
        if await gateway.keys.check(request.headers["X-API-Key"]) is None:
            return  # revoked meanwhile
        if isinstance(kept, Reset):
            yield ServerSentEvent(id=str(kept.id), event=RESET, data={"id": kept.id})
        else:
            yield ServerSentEvent(
                id=str(kept.id), event=kept.type, data=FollowedEvent.model_validate(kept.event)
            )
