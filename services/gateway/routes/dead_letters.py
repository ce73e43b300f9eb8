"""Dead letters over HTTP: an admin lists them, looks at one, and has them tried again.

A record's value is never shown: it may be secret, and nobody has checked it.
"""

from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row

from chassis.database import act_as_service
from chassis.identity import Caller
from contracts.errors import ErrorCode
from contracts.identity import Role
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Here, RequestId
from services.gateway.dead_letters import LetterFilter
from services.gateway.identity.permission import Permit, permit
from services.gateway.pages import Limit, Marker, Order, Page
from services.gateway.reading.pages import page_of
from services.gateway.routes.guard import guarded
from services.gateway.tables import DEAD_LETTERS, columns

ROUTER = guarded("/dead-letters", "dead letters")


def _of_all(permitted: Permit) -> Permit:
    """The same caller: letters of no known project are the first project's to see."""

    async def reads(request: Request) -> Caller:
        caller = await permitted(request)
        act_as_service()
        return caller

    return reads


Reader = Annotated[Caller, Depends(_of_all(permit(Role.ADMIN, "dead_letter.read")))]
Replayer = Annotated[Caller, Depends(_of_all(permit(Role.ADMIN, "dead_letter.replay")))]
_ORDER = Order("-buried_at", DEAD_LETTERS.c.buried_at, DEAD_LETTERS.c.id)


class Letter(BaseModel):
    """A record that a consumer gave up on, without its value."""

    id: UUID
    project_id: str = Field(description="As the record claims it; empty if it names none.")
    consumer: str = Field(examples=["hostler.provisioner"])
    topic: str = Field(examples=["vm.commands"])
    partition: int
    offset: int
    type: str = Field(description="As the record claims it.", examples=["vm.reboot.v1"])
    reason: str = Field(description="Why it was given up on.")
    key: str | None
    headers: dict[str, str]
    value_bytes: int
    value_sha256: str
    buried_at: datetime
    replays: int = Field(description="How often it was given back to its consumer.")
    replayed_at: datetime | None


class ReplayLetters(BaseModel):
    """Which letters are to be tried again: the oldest that were not replayed yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    consumer: str | None = Field(default=None, max_length=255, examples=["hostler.provisioner"])
    topic: str | None = Field(default=None, max_length=255)
    type: str | None = Field(default=None, max_length=255)
    limit: int = Field(default=100, ge=1, le=200)


class ReplayedLetters(BaseModel):
    """What was given back."""

    letters: list[UUID]


@ROUTER.get("", responses=documents.problems())
async def list_dead_letters(
    *,
    request: Request,
    gateway: Here,
    caller: Reader,
    consumer: Annotated[str | None, Query(max_length=255, description="Given up by it.")] = None,
    topic: Annotated[str | None, Query(max_length=255, description="From this topic.")] = None,
    type: Annotated[str | None, Query(max_length=255, description="A wire name.")] = None,  # noqa: A002
    limit: Limit = 100,
    marker: Marker = None,
) -> Page[Letter]:
    """List the project's dead letters, the latest first.

    Letters that name no known project are shown to admins of the first project in the settings.
    """
    query = gateway.dead_letters.seen_by(caller, LetterFilter(consumer, topic, type))
    return await page_of(gateway, request, query, _ORDER, _shown, limit=limit, marker=marker)


@ROUTER.get("/{letter_id}", responses=documents.problems(ErrorCode.NOT_FOUND))
async def show_dead_letter(letter_id: UUID, gateway: Here, caller: Reader) -> Letter:
    """Show a dead letter with its reason and headers."""
    async with gateway.database.reading() as session:
        return _shown(await gateway.dead_letters.find(session, caller, letter_id))


@ROUTER.post(
    "/replay",
    status_code=202,
    responses=documents.problems(ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(ReplayLetters),
)
async def replay_dead_letters(
    request_id: RequestId,
    gateway: Here,
    caller: Replayer,
    wanted: Annotated[ReplayLetters, Depends(body(ReplayLetters))],
) -> ReplayedLetters:
    """Give letters back to their consumers. What fails again is a new dead letter."""
    letters, narrow = gateway.dead_letters, LetterFilter(wanted.consumer, wanted.topic, wanted.type)
    async with gateway.database.session() as session:
        rows = await letters.not_replayed(session, caller, narrow, wanted.limit)
        await letters.replay(session, caller, request_id, rows)
    return ReplayedLetters(letters=[row.id for row in rows])


@ROUTER.post(
    "/{letter_id}/replay", status_code=202, responses=documents.problems(ErrorCode.NOT_FOUND)
)
async def replay_dead_letter(
    letter_id: UUID, request_id: RequestId, gateway: Here, caller: Replayer
) -> Letter:
    """Give one letter back, also one that was replayed before."""
    async with gateway.database.session() as session:
        row = await gateway.dead_letters.find(session, caller, letter_id)
        await gateway.dead_letters.replay(session, caller, request_id, [row])
        return _shown(await gateway.dead_letters.find(session, caller, letter_id))


def _shown(row: Row[Any]) -> Letter:
    digest = sha256(row.value).hexdigest()
    said = {**columns(row), "value_bytes": len(row.value), "value_sha256": digest}
    return Letter.model_validate(said)
