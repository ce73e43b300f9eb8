"""API keys: an admin of a project makes, lists and revokes them."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request, Response
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
from services.gateway.identity.accounts import rows
from services.gateway.identity.addresses import Cidr
from services.gateway.identity.keys import Bounds, Owner, require_within
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
        default=None,
        description="When it ceases to work; by default, and at most, as the settings say. A key that "
        "is made with a key ends with it.",
    )
    service_account_id: UUID | None = Field(
        default=None,
        description="Whose it is to be; by default that of the user, or service account, who makes it.",
    )


class RotateApiKey(BaseModel):
    """How long the secret of before works."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    overlap_seconds: int = Field(default=86_400, ge=0, le=30 * 86_400)


class RevokeApiKeys(BaseModel):
    """Whose keys are to be revoked: one of the two."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user_id: UUID | None = None
    service_account_id: UUID | None = None


class Revoked(BaseModel):
    """The keys that work no more."""

    revoked: list[UUID]


BODIES = (MakeApiKey, RotateApiKey, RevokeApiKeys)


@ROUTER.post(
    "",
    status_code=201,
    responses=documents.problems(
        ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE
    ),
    openapi_extra=documented(MakeApiKey),
)
async def make_key(
    request_id: RequestId,
    gateway: Here,
    caller: Admin,
    wanted: Annotated[MakeApiKey, Depends(body(MakeApiKey))],
) -> NewApiKey:
    """Make a key of the project. Its secret is shown in this answer and never again."""
    gateway.policy.require_may_give(caller, wanted.role)
    as_wanted = replace(caller, role=wanted.role)
    async with gateway.database.session() as session:
        owner, ends = await _owner(session, caller, wanted)
        bounds = _bounds(gateway, caller, wanted, ends)
        made = await gateway.keys.make(session, as_wanted, wanted.name, bounds=bounds, owner=owner)
        if made is None:
            raise Terminal(ErrorCode.CONFLICT, f"The project has a key named {wanted.name!r}.")
        said = KeyCreated(name=wanted.name, prefix=made.prefix, role=wanted.role, **asdict(bounds))
        await say(session, _event(gateway, caller, request_id, made.id, said))
        row = await _find(session, caller.project_id, made.id)
    return NewApiKey.model_validate({**columns(row), "key": made.secret})


@ROUTER.get("", responses=documents.problems())
async def list_keys(
    *,
    request: Request,
    gateway: Here,
    caller: Admin,
    user_id: Annotated[UUID | None, Query(description="Of this user.")] = None,
    service_account_id: Annotated[
        UUID | None, Query(description="Of this service account.")
    ] = None,
    revoked: Annotated[bool | None, Query(description="Only those that are, or are not.")] = None,
    limit: Limit = 100,
    marker: Marker = None,
) -> Page[ApiKey]:
    """List the project's keys, revoked ones too, without their secrets."""
    query = select(API_KEYS).where(API_KEYS.c.project_id == caller.project_id)
    if user_id is not None:
        query = query.where(API_KEYS.c.user_id == user_id)
    if service_account_id is not None:
        query = query.where(API_KEYS.c.service_account_id == service_account_id)
    if revoked is not None:
        query = query.where(API_KEYS.c.revoked_at.is_not(None) == revoked)
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
            await _revoke(session, gateway, caller, request_id, [row])
    gateway.keys.forget()
    return Response(status_code=204)


@ROUTER.post(
    "/revoke",
    responses=documents.problems(ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(RevokeApiKeys),
)
async def revoke_keys(
    request_id: RequestId,
    gateway: Here,
    caller: Admin,
    wanted: Annotated[RevokeApiKeys, Depends(body(RevokeApiKeys))],
) -> Revoked:
    """Revoke all keys that a user, or a service account, has in the project; all of them or none."""
    whose = wanted.model_dump(exclude_none=True)
    if len(whose) != 1:
        raise invalid("body", "Say user_id or service_account_id, and one alone.")
    mine = (API_KEYS.c.project_id == caller.project_id) & API_KEYS.c.revoked_at.is_(None)
    query = select(API_KEYS).where(mine).filter_by(**whose)
    async with gateway.database.session() as session:
        await exclusively(session, f"keys.{caller.project_id}")
        found = (await session.execute(query)).all()
        await _revoke(session, gateway, caller, request_id, found)
    gateway.keys.forget()
    return Revoked(revoked=[row.id for row in found])


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
        require_within(caller, row.scopes, row.allowed_cidrs)
        gateway.policy.require_may_give(caller, Role(row.role))
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


async def _owner(
    session: AsyncSession, caller: Caller, wanted: MakeApiKey
) -> tuple[Owner, datetime | None]:
    """Whose a new key is, and when it has to end: one that is made with a key is of its owner."""
    maker, owner = None, Owner(caller.user_id, caller.service_account_id)
    if caller.key_id is not None:
        maker = await _find(session, caller.project_id, caller.key_id)
        owner = Owner(maker.user_id, maker.service_account_id)
    if wanted.service_account_id is not None:
        account = await rows.find(session, caller.project_id, wanted.service_account_id)
        if not Role(account.role).covers(wanted.role):
            raise invalid("body.role", f"The service account's role is {account.role}.")
        owner = Owner(service_account_id=account.id)
    return owner, maker.expires_at if maker is not None else None


def _bounds(gateway: Gateway, caller: Caller, wanted: MakeApiKey, ends: datetime | None) -> Bounds:
    """What the key is narrowed to; a 403 where that is wider than who makes it."""
    require_within(caller, wanted.scopes, wanted.allowed_cidrs)
    scopes = None if wanted.scopes is None else tuple(wanted.scopes)
    cidrs = None if wanted.allowed_cidrs is None else tuple(wanted.allowed_cidrs)
    return Bounds(scopes, cidrs, _expiry(gateway, wanted.expires_at, ends))


def _expiry(gateway: Gateway, wanted: datetime | None, ends: datetime | None) -> datetime | None:
    """When a key ends: as is wanted, else as is usual; a 400 for later than it may."""
    now, settings = gateway.clock(), gateway.settings
    usual, longest = settings.api_key_lifetime, settings.api_key_max_lifetime
    bounds = [each for each in (ends, now + longest if longest else None) if each]
    latest = min(bounds) if bounds else None
    if wanted is None:
        chosen = [each for each in (latest, now + usual if usual else None) if each]
        return min(chosen) if chosen else None
    if wanted <= now:
        raise invalid("body.expires_at", "Is in the past.")
    if latest is not None and wanted > latest:
        raise invalid("body.expires_at", f"A key that is made so ends at {latest.isoformat()}.")
    return wanted


def _shown(row: Row[Any]) -> ApiKey:
    return ApiKey.model_validate(columns(row))


async def _find(session: AsyncSession, project_id: str, key_id: UUID) -> Row[Any]:
    mine = (API_KEYS.c.id == key_id) & (API_KEYS.c.project_id == project_id)
    row = (await session.execute(select(API_KEYS).where(mine))).first()
    if row is None:
        raise Terminal(ErrorCode.NOT_FOUND)
    return row


async def _require_another_admin(session: AsyncSession, revoked: Sequence[Row[Any]]) -> None:
    """A 409 where none would be left by which another could be made."""
    others = select(func.count()).where(
        API_KEYS.c.project_id == revoked[0].project_id,
        API_KEYS.c.role == Role.ADMIN.value,
        API_KEYS.c.revoked_at.is_(None),
        API_KEYS.c.id.not_in([row.id for row in revoked]),
    )
    has_admin = any(row.role == Role.ADMIN.value for row in revoked)
    if has_admin and not await session.scalar(others):
        raise Terminal(ErrorCode.CONFLICT, "This is the project's last admin key.")


async def _revoke(
    session: AsyncSession,
    gateway: Gateway,
    caller: Caller,
    request_id: str,
    revoked: Sequence[Row[Any]],
) -> None:
    if not revoked:
        return
    await _require_another_admin(session, revoked)
    these = API_KEYS.c.id.in_([row.id for row in revoked])
    await session.execute(update(API_KEYS).where(these).values(revoked_at=gateway.clock()))
    for row in revoked:
        event = KeyRevoked(name=row.name, prefix=row.prefix, role=Role(row.role))
        await say(session, _event(gateway, caller, request_id, row.id, event))


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
