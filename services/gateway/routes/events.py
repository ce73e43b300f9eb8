"""Following what happens: server-sent events, resumable."""

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from chassis.database import is_outage
from chassis.identity import Caller
from services.gateway import documents
from services.gateway.context import Gateway, Here
from services.gateway.followers import Kept, Reset, Wanted
from services.gateway.identity.permission import LOOKS, Viewer, recognize
from services.gateway.parameters import EventTypes
from services.gateway.policy.sharing import seen_among
from services.gateway.routes.guard import guarded

ROUTER = guarded("/events", "events")
_PLACE = r"^\d{1,18}$"
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_BEGIN = format_sse_event(retry=1000, comment="connected")
_TOLD = """Follow the project's events as they happen.

Each message's `id` is its place in the sequence; send the last one as `Last-Event-ID` (or
`last_event_id`) to go on behind it, without it the stream begins now. Events are kept for seven
days: a place further back, or one that was never given out, is answered with the event
`hostler.reset` first, whose `id` is where the stream goes on: read the lists again then. Looks at
a VM that found nothing new (`vm.observed.v1`) are not told. A comment every 15 seconds keeps the
connection open; a stopping gateway ends the stream, and clients connect again by themselves."""


_STREAM: dict[str, Any] = {
    "content": {
        "text/event-stream": {
            "itemSchema": {
                "type": "object",
                "properties": {
                    "data": {"type": "string"},
                    "event": {"type": "string"},
                    "id": {"type": "string"},
                    "retry": {"type": "integer", "minimum": 0},
                },
            }
        }
    }
}


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
    response_class=StreamingResponse,
    responses={200: _STREAM, **documents.problems()},
    description=_TOLD,
)
async def follow_events(
    request: Request,
    gateway: Here,
    wanted: Annotated[Wanted, Depends(read_wanted)],
    place: Annotated[int | None, Depends(read_place)],
) -> EventSourceResponse:
    """Follow the project's events as they happen."""
    lines = _lines(gateway, request, wanted, place)
    return EventSourceResponse(lines, headers=_HEADERS)


async def _lines(
    gateway: Gateway, request: Request, wanted: Wanted, place: int | None
) -> AsyncGenerator[bytes]:
    """The stream's bytes. FastAPI's own streams pass each event through two more tasks.

    A route whose `response_class` is an EventSourceResponse would be taken for one of those.
    """
    yield _BEGIN
    try:
        async for some in gateway.tail.batches(wanted, place):
            told = await _told_now(gateway, request, wanted, some)
            if told is None:
                return
            yield b"".join(each.line for each in told) or KEEPALIVE_COMMENT
    except Exception as error:
        if not is_outage(error):
            raise
        # Nobody knows what comes now, or who may hear it: the follower comes again for the rest.


async def _told_now(
    gateway: Gateway, request: Request, wanted: Wanted, some: Sequence[Kept | Reset]
) -> Sequence[Kept | Reset] | None:
    """What the follower is told of some; None if revoked, expired or not permitted meanwhile."""
    caller = await recognize(request)
    if caller is None or caller.project_id != wanted.project_id or not _may(gateway, caller):
        return None
    return await seen_of(gateway, caller, some) if caller.is_private else some


def _may(gateway: Gateway, caller: Caller) -> bool:
    permission, role = LOOKS
    return caller.may(gateway.policy.needed(permission, role), permission)


async def seen_of(
    gateway: Gateway, caller: Caller, some: Sequence[Kept | Reset]
) -> list[Kept | Reset]:
    """Of some events, what concerns VMs that a private caller sees now."""
    ids = {each.vm_id for each in some if isinstance(each, Kept)}
    async with gateway.database.reading() as session:
        seen = await seen_among(session, caller, ids)
    return [each for each in some if isinstance(each, Reset) or each.vm_id in seen]
