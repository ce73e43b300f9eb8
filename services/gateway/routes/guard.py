"""What stands before every route under /v1: one dependency, for each costs as much as a look-up."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Depends, Request

from chassis.database import act_for
from services.gateway.context import gateway_of
from services.gateway.documents import SECURITY
from services.gateway.identity.permission import (
    identify,
    require_enrolled,
    require_project,
    settle,
)
from services.gateway.limits.admission import admit
from services.gateway.parameters import refuse_unknown_parameters
from services.gateway.routes.signposts import Signposted

_TO_ENROL = ("/v1/me/factors", "/v1/auth/step-up", "/v1/auth/logout-everywhere")
"""Where a user may go who has to enrol a second factor first."""


def guarded(prefix: str, tag: str) -> APIRouter:
    """A router whose routes ask for a credential first and take no parameter that they do not know."""
    return _router(prefix, tag, _in_a_project, is_secured=True)


def personal(prefix: str, tag: str) -> APIRouter:
    """The same for what is the caller's own: no project has to be chosen."""
    return _router(prefix, tag, _anywhere, is_secured=True)


def unguarded(prefix: str, tag: str) -> APIRouter:
    """The same for those who come to get a credential, or with one in the body."""
    return _router(prefix, tag, refuse_unknown_parameters)


def _router(
    prefix: str, tag: str, guard: Callable[[Request], Awaitable[None]], *, is_secured: bool = False
) -> APIRouter:
    return Signposted(
        prefix=f"/v1{prefix}",
        tags=[tag],
        dependencies=[Depends(guard)],
        documented={"security": SECURITY} if is_secured else {},
    )


async def _in_a_project(request: Request) -> None:
    caller = await identify(request)
    require_project(request, caller)
    caller = request.state.caller = await settle(gateway_of(request), caller)
    await admit(request, caller)
    await require_enrolled(request)
    await refuse_unknown_parameters(request)
    if caller.project_id:
        act_for(caller.project_id)


async def _anywhere(request: Request) -> None:
    caller = await identify(request)
    caller = request.state.caller = await settle(gateway_of(request), caller)
    await admit(request, caller)
    if not request.url.path.startswith(_TO_ENROL):
        await require_enrolled(request)
    await refuse_unknown_parameters(request)
