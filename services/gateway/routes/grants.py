"""Grants: a VM's owner, or an admin of its project, shares it with another member."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import changed, insert
from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.outbox import say
from chassis.problems import invalid
from contracts.access.permission import GrantGiven, GrantRevoked
from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.message import Message
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Gateway, Here, RequestId
from services.gateway.identity.permission import permit
from services.gateway.identity.tables import MEMBERSHIPS
from services.gateway.pages import Limit, Marker, Order, Page
from services.gateway.policy.sharing import standing_of
from services.gateway.policy.tables import GRANTS
from services.gateway.reading.pages import page_of
from services.gateway.routes.guard import guarded
from services.gateway.tables import columns

ROUTER = guarded("/vms", "grants")
Sharer = Annotated[Caller, Depends(permit(Role.OPERATOR, "vm.share"))]
_ORDER = Order("created_at", GRANTS.c.created_at, GRANTS.c.user_id)


class Grant(BaseModel):
    """A VM is shared with a user."""

    vm_id: UUID
    user_id: UUID
    role: Literal["viewer", "operator"] = Field(description="What the user may do to this VM.")
    created_at: datetime
    created_by: str


class GiveGrant(BaseModel):
    """With whom, and for what."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    user_id: UUID = Field(description="A member of the project.")
    role: Literal["viewer", "operator"]


@ROUTER.get("/{vm_id}/grants", responses=documents.problems(ErrorCode.NOT_FOUND))
async def list_grants(
    *,
    request: Request,
    vm_id: UUID,
    gateway: Here,
    caller: Sharer,
    limit: Limit = 100,
    marker: Marker = None,
) -> Page[Grant]:
    """List with whom a VM is shared, the oldest first."""
    async with gateway.database.reading() as session:
        await _require_vm(session, caller, vm_id)
    query = select(GRANTS).where(GRANTS.c.vm_id == vm_id, GRANTS.c.project_id == caller.project_id)
    return await page_of(gateway, request, query, _ORDER, _shown, limit=limit, marker=marker)


@ROUTER.post(
    "/{vm_id}/grants",
    status_code=201,
    responses=documents.problems(ErrorCode.NOT_FOUND, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(GiveGrant),
)
async def give_grant(
    vm_id: UUID,
    request_id: RequestId,
    gateway: Here,
    caller: Sharer,
    wanted: Annotated[GiveGrant, Depends(body(GiveGrant))],
) -> Grant:
    """Share a VM with a member of the project; once more: in another role.

    In their project a user may do to this VM what the role may, also where theirs may less. It ends
    with their membership.
    """
    row = {
        "vm_id": vm_id,
        "user_id": wanted.user_id,
        "project_id": caller.project_id,
        "role": wanted.role,
        "created_at": gateway.clock(),
        "created_by": caller.actor,
    }
    async with gateway.database.session() as session:
        await _require_may_share(gateway, session, caller, vm_id)
        await _require_member(session, caller.project_id, wanted.user_id)
        new = {name: row[name] for name in ("role", "created_at", "created_by")}
        giving = insert(session, GRANTS).values(row)
        keys = ["vm_id", "user_id"]
        await session.execute(giving.on_conflict_do_update(index_elements=keys, set_=new))
        data = GrantGiven(vm_id=vm_id, user_id=wanted.user_id, role=Role(wanted.role))
        await say(session, _told(gateway, caller, request_id, data))
    return Grant.model_validate(row)


@ROUTER.delete(
    "/{vm_id}/grants/{user_id}",
    status_code=204,
    responses=documents.problems(ErrorCode.NOT_FOUND),
)
async def revoke_grant(
    vm_id: UUID, user_id: UUID, request_id: RequestId, gateway: Here, caller: Sharer
) -> Response:
    """Share a VM with a user no more; it holds from the next request on."""
    mine = (GRANTS.c.vm_id == vm_id) & (GRANTS.c.user_id == user_id)
    mine &= GRANTS.c.project_id == caller.project_id
    async with gateway.database.session() as session:
        await _require_may_share(gateway, session, caller, vm_id)
        if not await changed(session, delete(GRANTS).where(mine)):
            raise Terminal(ErrorCode.NOT_FOUND, "The VM is not shared with that user.")
        data = GrantRevoked(vm_id=vm_id, user_id=user_id)
        await say(session, _told(gateway, caller, request_id, data))
    return Response(status_code=204)


async def _require_vm(session: AsyncSession, caller: Caller, vm_id: UUID) -> bool:
    """Whether the VM is the caller's own; Terminal(NOT_FOUND) if it is not the project's."""
    standing = await standing_of(session, caller, vm_id=vm_id)
    if standing is None:
        raise Terminal(ErrorCode.NOT_FOUND)
    return standing.is_owner


async def _require_may_share(
    gateway: Gateway, session: AsyncSession, caller: Caller, vm_id: UUID
) -> None:
    is_own = await _require_vm(session, caller, vm_id)
    if not is_own and not gateway.policy.rules.is_admin(caller):
        sentence = "A VM is shared by its owner, or by an admin of the project."
        raise Terminal(ErrorCode.FORBIDDEN, sentence)


async def _require_member(session: AsyncSession, project_id: str, user_id: UUID) -> None:
    """A 400 unless the user is in the project, which they then stay until the transaction ends."""
    theirs = (MEMBERSHIPS.c.user_id == user_id) & (MEMBERSHIPS.c.project_id == project_id)
    query = select(MEMBERSHIPS.c.role).where(theirs).with_for_update()
    if (await session.execute(query)).first() is None:
        raise invalid("body.user_id", "The project has no such member.")


def _told(
    gateway: Gateway, caller: Caller, request_id: str, data: GrantGiven | GrantRevoked
) -> Message[GrantGiven | GrantRevoked]:
    return Message(
        id=new_id(),
        source="hostler/gateway",
        time=gateway.clock(),
        subject=str(data.vm_id),
        project_id=caller.project_id,
        actor=caller.actor,
        request_id=request_id,
        override=caller.override,
        data=data,
    )


def _shown(row: Row[Any]) -> Grant:
    return Grant.model_validate(columns(row))
