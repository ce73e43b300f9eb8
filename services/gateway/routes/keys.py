"""API keys: an admin of a project makes, lists and revokes them."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.outbox import say
from chassis.problems import invalid
from contracts.access.events import KeyCreated, KeyRevoked, KeyRotated
from contracts.errors import ErrorCode
from contracts.identity import Role, Scope
from contracts.message import Message
from contracts.vm.fields import Name
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Gateway, Here, RequestId
from services.gateway.identity.addresses import Cidr
from services.gateway.identity.keys import Bounds, holds_network
from services.gateway.identity.permission import permit
from services.gateway.locks import exclusively
from services.gateway.pages import Limit, Marker, Order, Page
from services.gateway.reading.pages import page_of
from services.gateway.resources import ApiKey, NewApiKey
from services.gateway.routes.guard import guarded
from services.gateway.tables import API_KEYS, columns

ROUTER = guarded("/api-keys", "api keys")
Admin = Annotated[Caller, Depends(permit(Role.ADMIN, "api_key.manage"))]
_ORDER = Order("created_at", API_KEYS.c.created_at, API_KEYS.c.id)


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


class MakeApiKey(BaseModel):
    """What a new key is to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(
        description="Stands as `key:NAME` in everything done with it.", examples=["ci"]
    )
    role: Role = Field(description="What it may do in the project.", examples=["operator"])
    scopes: list[Scope] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="What of that it may do; by default all.",
        examples=[["vm.read", "vm.reboot"]],
    )
    allowed_cidrs: list[Cidr] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="The networks that it may be used from; by default any.",
        examples=[["10.0.0.0/8"]],
    )
    expires_at: Annotated[AwareDatetime, AfterValidator(_utc)] | None = Field(
        default=None, description="When it ceases to work; by default never."
    )


class RotateApiKey(BaseModel):
    """How long the secret of before works."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    overlap_seconds: int = Field(default=86_400, ge=0, le=30 * 86_400)


BODIES = (MakeApiKey, RotateApiKey)


@ROUTER.post(
    "",
    status_code=201,
    responses=documents.problems(ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(MakeApiKey),
)
async def make_key(
    request_id: RequestId,
    gateway: Here,
    caller: Admin,
    wanted: Annotated[MakeApiKey, Depends(body(MakeApiKey))],
) -> NewApiKey:
    """Make a key of the project. Its secret is shown in this answer and never again."""
    owner, bounds = replace(caller, role=wanted.role), _bounds(gateway, caller, wanted)
    created = KeyCreated(name=wanted.name, prefix="", role=wanted.role, **asdict(bounds))
    async with gateway.database.session() as session:
        made = await gateway.keys.make(session, owner, wanted.name, bounds=bounds)
        if made is None:
            raise Terminal(ErrorCode.CONFLICT, f"The project has a key named {wanted.name!r}.")
        said = created.model_copy(update={"prefix": made.prefix})
        await say(session, _event(gateway, caller, request_id, made.id, said))
        row = await _find(session, caller.project_id, made.id)
    return NewApiKey.model_validate({**columns(row), "key": made.secret})


@ROUTER.get("", responses=documents.problems())
async def list_keys(
    request: Request, gateway: Here, caller: Admin, limit: Limit = 100, marker: Marker = None
) -> Page[ApiKey]:
    """List the project's keys, revoked ones too, without their secrets."""
    query = select(API_KEYS).where(API_KEYS.c.project_id == caller.project_id)
    return await page_of(gateway, request, query, _ORDER, _shown, limit=limit, marker=marker)


@ROUTER.delete(
    "/{key_id}",
    status_code=204,
    responses=documents.problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT),
)
async def revoke_key(key_id: UUID, request_id: RequestId, gateway: Here, caller: Admin) -> Response:
    """Revoke a key. Other replicas of the gateway may take it for five seconds more.

    The project's last admin key stays: without one nobody could make another.
    """
    async with gateway.database.session() as session:
        await exclusively(session, f"keys.{caller.project_id}")
        row = await _find(session, caller.project_id, key_id)
        if row.revoked_at is None:
            await _require_another_admin(session, row)
            await _revoke(session, gateway, key_id)
            revoked = KeyRevoked(name=row.name, prefix=row.prefix, role=Role(row.role))
            await say(session, _event(gateway, caller, request_id, key_id, revoked))
    gateway.keys.forget()
    return Response(status_code=204)


@ROUTER.post(
    "/{key_id}/rotate",
    responses=documents.problems(
        ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE
    ),
    openapi_extra=documented(RotateApiKey, optional=True),
)
async def rotate_key(
    key_id: UUID,
    request_id: RequestId,
    gateway: Here,
    caller: Admin,
    wanted: Annotated[RotateApiKey, Depends(body(RotateApiKey, optional=True))],
) -> NewApiKey:
    """Give a key another secret, shown now and never again; the one before works for the overlap."""
    overlap = timedelta(seconds=wanted.overlap_seconds)
    async with gateway.database.session() as session:
        row = await _find(session, caller.project_id, key_id)
        if row.revoked_at is not None:
            raise Terminal(ErrorCode.CONFLICT, "The key is revoked.")
        _require_within(caller, row.scopes, row.allowed_cidrs)
        made = await gateway.keys.rotate(session, row, overlap)
        if made is None:
            raise Terminal(ErrorCode.CONFLICT, "The key was given another secret just now.")
        until = gateway.clock() + overlap
        rotated = KeyRotated(
            name=row.name, prefix=made.prefix, until=until, former_prefix=row.prefix
        )
        await say(session, _event(gateway, caller, request_id, key_id, rotated))
        row = await _find(session, caller.project_id, key_id)
    gateway.keys.forget()
    return NewApiKey.model_validate({**columns(row), "key": made.secret})


def _bounds(gateway: Gateway, caller: Caller, wanted: MakeApiKey) -> Bounds:
    """What the key is narrowed to; a 403 where that is wider than who makes it."""
    if wanted.expires_at is not None and wanted.expires_at <= gateway.clock():
        raise invalid("body.expires_at", "Is in the past.")
    _require_within(caller, wanted.scopes, wanted.allowed_cidrs)
    scopes = None if wanted.scopes is None else tuple(wanted.scopes)
    cidrs = None if wanted.allowed_cidrs is None else tuple(wanted.allowed_cidrs)
    return Bounds(scopes, cidrs, wanted.expires_at)


def _require_within(
    caller: Caller, scopes: Sequence[str] | None, cidrs: Sequence[str] | None
) -> None:
    """A 403 unless the caller's own scopes and networks hold all of these: nobody makes more of themselves."""
    wider = scopes is None or not all(caller.has(each) for each in scopes)
    if caller.scopes is not None and wider:
        raise Terminal(ErrorCode.FORBIDDEN, "A key cannot have scopes that its maker has not.")
    if caller.allowed_cidrs is None:
        return
    if cidrs is None or not all(holds_network(caller.allowed_cidrs, each) for each in cidrs):
        raise Terminal(ErrorCode.FORBIDDEN, "A key works from no network that its maker does not.")


def _shown(row: Row[Any]) -> ApiKey:
    return ApiKey.model_validate(columns(row))


async def _find(session: AsyncSession, project_id: str, key_id: UUID) -> Row[Any]:
    mine = (API_KEYS.c.id == key_id) & (API_KEYS.c.project_id == project_id)
    row = (await session.execute(select(API_KEYS).where(mine))).first()
    if row is None:
        raise Terminal(ErrorCode.NOT_FOUND)
    return row


async def _require_another_admin(session: AsyncSession, row: Row[Any]) -> None:
    others = select(func.count()).where(
        API_KEYS.c.project_id == row.project_id,
        API_KEYS.c.role == Role.ADMIN.value,
        API_KEYS.c.revoked_at.is_(None),
        API_KEYS.c.id != row.id,
    )
    if row.role == Role.ADMIN.value and not await session.scalar(others):
        raise Terminal(ErrorCode.CONFLICT, "This is the project's last admin key.")


async def _revoke(session: AsyncSession, gateway: Gateway, key_id: UUID) -> None:
    mine = API_KEYS.c.id == key_id
    await session.execute(update(API_KEYS).where(mine).values(revoked_at=gateway.clock()))


def _event(
    gateway: Gateway,
    caller: Caller,
    request_id: str,
    key_id: UUID,
    data: KeyCreated | KeyRevoked | KeyRotated,
) -> Message[KeyCreated | KeyRevoked | KeyRotated]:
    return Message(
        id=new_id(),
        source="hostler/gateway",
        time=gateway.clock(),
        subject=str(key_id),
        project_id=caller.project_id,
        actor=caller.actor,
        request_id=request_id,
        data=data,
    )
