"""Who is asking, and what they may do: what every route under /v1 goes through."""

from collections.abc import Awaitable, Callable
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from chassis.errors import Terminal
from chassis.identity import Caller
from contracts.errors import ErrorCode
from contracts.identity import Role
from services.gateway.context import Gateway, gateway_of
from services.gateway.identity.challenge import unauthenticated
from services.gateway.identity.choice import acting_in
from services.gateway.identity.saying import user
from services.gateway.identity.tokens import Bearer

HEADER = APIKeyHeader(
    name="X-API-Key",
    scheme_name="ApiKey",
    description="`hk_…`, made with POST /v1/api-keys.",
    auto_error=False,
)
BEARER = HTTPBearer(
    bearerFormat="JWT",
    scheme_name="Bearer",
    description="An access token of POST /v1/auth/login. `X-Project-Id` chooses one of its projects.",
    auto_error=False,
)
Credentials = HTTPAuthorizationCredentials
PERMISSIONS: dict[str, Role] = {}
"""Every permission that a route asks for, with the role that covers it."""


async def recognize(request: Request) -> Caller | None:
    """Who is behind the credential of a request, if it still holds: for streams, which go on."""
    key, token = request.headers.get("X-API-Key"), _token(request)
    if key:
        return await gateway_of(request).keys.check(key)
    bearer = await _bearer(gateway_of(request), token) if token else None
    return _user(bearer) if bearer is not None else None


async def identify(request: Request, key: str | None, credentials: Credentials | None) -> Caller:
    """Who is asking, in whichever project; a 401 without one valid credential, or with two."""
    gateway, wanted = gateway_of(request), request.headers.get("X-Project-Id")
    if key and credentials is not None:
        raise unauthenticated("Send a key or a token, not both.")
    if key:
        caller = await gateway.keys.check(key)
        if caller is None:
            raise unauthenticated()
        return caller
    if credentials is None:
        raise unauthenticated()
    bearer = await _bearer(gateway, credentials.credentials)
    if bearer is None:
        raise unauthenticated("The token does not hold: refresh it, or log in.", tried=True)
    return acting_in(bearer, _user(bearer), wanted) or _user(bearer)


def require_project(request: Request, caller: Caller) -> None:
    """A 403 where the caller acts in no project, or not in the one that they chose."""
    wanted = request.headers.get("X-Project-Id")
    if wanted is not None and wanted != caller.project_id:
        raise Terminal(ErrorCode.FORBIDDEN, "The caller does not belong to that project.")
    if not caller.project_id and not caller.is_platform_admin:
        raise Terminal(ErrorCode.FORBIDDEN, "Choose one of your projects with X-Project-Id.")


async def caller_of(request: Request) -> Caller:
    """Whom the router's guard found; a route without a guard has none, and fails."""
    return cast("Caller", request.state.caller)


Known = Annotated[Caller, Depends(caller_of)]
Permit = Callable[[Request], Awaitable[Caller]]


def permit(role: Role, permission: str) -> Permit:
    """A dependency: the caller, who may do it; a refusal is an event."""
    PERMISSIONS[permission] = role

    async def permitted(request: Request) -> Caller:
        caller = await caller_of(request)
        request.state.permission = permission
        caller.needs(role, permission)
        gateway_of(request).signatures.require(request, permission)
        return caller

    return permitted


def permit_platform(permission: str) -> Permit:
    """The same for what concerns no project: only admins of the platform may do it."""

    async def permitted(request: Request) -> Caller:
        caller = await caller_of(request)
        request.state.permission = permission
        if not caller.is_platform_admin:
            raise Terminal(ErrorCode.FORBIDDEN, f"{permission} is for admins of the platform.")
        return caller

    return permitted


async def tell_refused(
    _gateway: Gateway, request: Request, _caller: Caller, permission: str
) -> None:
    """Note what the request is refused for; the witness tells of it with the answer."""
    request.state.permission = permission


async def _bearer(gateway: Gateway, token: str) -> Bearer | None:
    """What a token says, while its session is open and its user is as it says."""
    bearer = await gateway.identity.tokens.read(token)
    if bearer is None:
        return None
    is_open = await gateway.identity.sessions.is_open(bearer.session_id, bearer.version)
    return bearer if is_open else None


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _user(bearer: Bearer) -> Caller:
    """A user who acts in no project: nothing that is a project's is theirs."""
    return Caller(
        user(bearer.user_id),
        "",
        Role.VIEWER,
        scopes=(),
        user_id=bearer.user_id,
        session_id=bearer.session_id,
        is_platform_admin=bearer.is_platform_admin,
    )


Viewer = Annotated[Caller, Depends(permit(Role.VIEWER, "vm.read"))]
