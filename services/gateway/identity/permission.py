"""What a caller may do: the one dependency that every route under /v1 goes through."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.outbox import say
from contracts.access.events import Refused
from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.message import Message
from services.gateway.context import Gateway, gateway_of, request_id_of

HEADER = APIKeyHeader(
    name="X-API-Key",
    scheme_name="ApiKey",
    description="`hk_…`, made with POST /v1/api-keys.",
    auto_error=False,
)


async def authenticated(
    request: Request, key: Annotated[str | None, Security(HEADER)] = None
) -> Caller:
    """The caller behind the key; Terminal(UNAUTHENTICATED) without a valid one."""
    caller = await gateway_of(request).keys.check(key or "")
    if caller is None:
        raise Terminal(ErrorCode.UNAUTHENTICATED)
    return caller


Authenticated = Annotated[Caller, Depends(authenticated)]


def permit(role: Role, permission: str) -> Callable[[Request, Caller], Awaitable[Caller]]:
    """A dependency: the caller, whose role covers `role`; a refusal is an event."""

    async def permitted(request: Request, caller: Authenticated) -> Caller:
        if not caller.role.covers(role):
            await tell_refused(gateway_of(request), request, caller, permission)
        caller.needs(role, permission)
        return caller

    return permitted


async def tell_refused(gateway: Gateway, request: Request, caller: Caller, permission: str) -> None:
    """Say `access.refused`: a known caller asked for what they may not do, or not from there."""
    refused = Refused(
        method=request.method,
        path=request.url.path,
        permission=permission,
        address=request.client.host if request.client else None,
    )
    message = Message(
        id=new_id(),
        source="hostler/gateway",
        time=gateway.clock(),
        subject=caller.actor,
        project_id=caller.project_id,
        actor=caller.actor,
        request_id=request_id_of(request),
        data=refused,
    )
    async with gateway.database.session() as session:
        await say(session, message)


Viewer = Annotated[Caller, Depends(permit(Role.VIEWER, "vm.read"))]
