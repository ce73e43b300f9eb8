"""API keys: an admin of a project makes, lists and revokes them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.outbox import say
from contracts.access.events import KeyCreated, KeyRevoked
from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.message import Message
from contracts.vm.fields import Name
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Gateway, Here, RequestId
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


class MakeApiKey(BaseModel):
    """What a new key is to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(
        description="Stands as `key:NAME` in everything done with it.", examples=["ci"]
    )
    role: Role = Field(description="What it may do in the project.", examples=["operator"])


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
    owner = Caller(caller.actor, caller.project_id, wanted.role)
    created = KeyCreated(name=wanted.name, prefix="", role=wanted.role)
    async with gateway.database.session() as session:
        made = await gateway.keys.make(session, owner, wanted.name)
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
            revoked = KeyRevoked(name=row.name, prefix=row.prefix)
            await say(session, _event(gateway, caller, request_id, key_id, revoked))
    gateway.keys.forget()
    return Response(status_code=204)


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
    gateway: Gateway, caller: Caller, request_id: str, key_id: UUID, data: KeyCreated | KeyRevoked
) -> Message[KeyCreated | KeyRevoked]:
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
