"""Who is asking, and what they may do: what every route under /v1 goes through."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security.utils import get_authorization_scheme_param

from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.outbox import say
from chassis.problems import Refusal
from contracts.access.permission import Overridden
from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.message import Message
from services.gateway.context import Gateway, gateway_of, request_id_of
from services.gateway.identity.accounts.tokens import is_of_service
from services.gateway.identity.challenge import unauthenticated
from services.gateway.identity.choice import acting_in
from services.gateway.identity.saying import Asking, user
from services.gateway.identity.tokens import Bearer
from services.gateway.policy.override import OVERRIDE, overriding
from services.gateway.policy.sharing import Standing, standing_of, user_behind

KEY_HEADER = "X-API-Key"
STEP_UP = "step_up"
"""What stands in `access.refused` where a second factor is missing."""
_READING = {"GET", "HEAD"}
LOOKS = ("vm.read", Role.VIEWER)
"""The permission to look at VMs, with the role that its routes ask for."""
PERMISSIONS: dict[str, Role] = {}
"""Every permission that a route asks for, with the role that covers it."""


async def recognize(request: Request) -> Caller | None:
    """Who is behind the credential of a request, if it still holds: for streams, which go on.

    As they stand now: with what policy and project give them.
    """
    gateway = gateway_of(request)
    caller = await _recognized(gateway, request)
    return await settle(gateway, caller) if caller is not None else None


async def _recognized(gateway: Gateway, request: Request) -> Caller | None:
    key, token = request.headers.get(KEY_HEADER), _token(request)
    if key:
        return await gateway.keys.check(key)
    if not token:
        return await _from_keystone(request)
    if is_of_service(token):
        return await gateway.identity.service_tokens.caller(token)
    bearer = await _bearer(gateway, token)
    return _acting(request, bearer) if bearer is not None else None


async def identify(request: Request) -> Caller:
    """Who is asking, in whichever project; a 401 without one valid credential, or with two."""
    gateway, key, token = gateway_of(request), request.headers.get(KEY_HEADER), _token(request)
    if _is_doubled(gateway, request, key, token):
        raise unauthenticated("Send a key or a token, not both.")
    if token:
        return await _by_token(gateway, request, token)
    found = await (gateway.keys.check(key) if key else _from_keystone(request))
    if found is None:
        raise unauthenticated()
    return found


async def _by_token(gateway: Gateway, request: Request, token: str) -> Caller:
    if is_of_service(token):
        service = await gateway.identity.service_tokens.caller(token)
        if service is None:
            raise unauthenticated("The token does not hold: ask for another one.", tried=True)
        return service
    bearer = request.state.bearer = await _bearer(gateway, token)
    if bearer is None:
        raise unauthenticated("The token does not hold: refresh it, or log in.", tried=True)
    caller = _acting(request, bearer)
    if caller.override:
        await _tell_override(gateway, request, caller)
    return caller


async def settle(gateway: Gateway, caller: Caller) -> Caller:
    """The caller with what the policy gives them, and what their project lets them see."""
    caller = gateway.policy.rules.give(caller)
    if caller.project_id and not gateway.policy.rules.is_admin(caller):
        chosen = await gateway.projects.of(caller.project_id)
        if chosen.owner_only:
            return replace(caller, is_private=True)
    return caller


def require_project(request: Request, caller: Caller) -> None:
    """A 403 where the caller acts in no project, or not in the one that they chose."""
    wanted = request.headers.get("X-Project-Id")
    if wanted is not None and wanted != caller.project_id:
        if caller.is_platform_admin and wanted in gateway_of(request).settings.projects:
            sentence = f"You are not in that project: say why in the header {OVERRIDE}."
            raise Terminal(ErrorCode.FORBIDDEN, sentence)
        raise Terminal(ErrorCode.FORBIDDEN, "The caller does not belong to that project.")
    if not caller.project_id and not caller.is_platform_admin:
        raise Terminal(ErrorCode.FORBIDDEN, "Choose one of your projects with X-Project-Id.")


async def caller_of(request: Request) -> Caller:
    """Whom the router's guard found; a route without a guard has none, and fails."""
    return cast("Caller", request.state.caller)


Known = Annotated[Caller, Depends(caller_of)]
Permit = Callable[[Request], Awaitable[Caller]]


def permit(role: Role, permission: str) -> Permit:
    """A dependency: the caller, who may do it; a refusal is an event.

    On a VM, or an operation of one, that is not the caller's to see it is a 404; there they may do
    what it is shared for. A dry run goes on with whoever may look, and finds out what it would be.
    """
    PERMISSIONS[permission] = role

    async def permitted(request: Request) -> Caller:
        gateway, caller, is_tried = gateway_of(request), await caller_of(request), is_dry(request)
        note_permission(request, permission)
        needed = gateway.policy.needed(permission, role)
        if caller.is_private or not caller.may(needed, permission):
            caller = await on_vm(gateway, caller, **_ids(request))
        if is_tried and caller.may(gateway.policy.needed(*LOOKS), LOOKS[0]):
            return caller
        caller.needs(needed, permission)
        if not is_tried:
            gateway.signatures.require(request, permission)
            await require_fresh(request, permission)
        return caller

    return permitted


def is_dry(request: Request) -> bool:
    """Whether a command is only tried: routes that cannot be refuse the parameter before this."""
    if not request.scope["query_string"]:
        return False
    said = request.query_params.get("dry_run", "").lower()
    return said in {"true", "1", "yes", "on", "t", "y"}


async def on_vm(gateway: Gateway, caller: Caller, **ids: UUID) -> Caller:
    """The caller with what they may do to a VM, by `vm_id`, or by `operation_id`.

    Terminal(NOT_FOUND) if they see of the project only what is theirs, and that VM is not.
    """
    if not ids or not (caller.is_private or user_behind(caller)):
        return caller
    async with gateway.database.reading() as session:
        standing = await standing_of(session, caller, **ids)
    if caller.is_private and (standing is None or not (standing.is_owner or standing.shared_as)):
        raise Terminal(ErrorCode.NOT_FOUND)
    return _shared(gateway, caller, standing)


def _shared(gateway: Gateway, caller: Caller, standing: Standing | None) -> Caller:
    """Users may do what the VM is shared for; keys of theirs no more than they might anyway."""
    own = caller.granted or frozenset[str]()
    if standing is None or standing.is_owner or standing.shared_as is None:
        return caller
    given = gateway.policy.rules.granted.get(standing.shared_as, frozenset())
    if caller.user_id is None:
        return replace(caller, granted=own & given) if caller.is_private else caller
    return replace(caller, granted=given if caller.is_private else own | given)


def _ids(request: Request) -> dict[str, UUID]:
    """What the path names of a VM."""
    said = {name: request.path_params.get(name) for name in ("vm_id", "operation_id")}
    return {name: UUID(str(text)) for name, text in said.items() if _is_id(text)}


def _is_id(text: object) -> bool:
    """Whether it names anything at all; what does not is refused by the route itself."""
    try:
        return bool(UUID(str(text)))
    except ValueError:
        return False


def permit_platform(permission: str) -> Permit:
    """The same for what concerns no project: only admins of the platform may do it."""

    async def permitted(request: Request) -> Caller:
        caller = await caller_of(request)
        note_permission(request, permission)
        if not caller.is_platform_admin:
            raise Terminal(ErrorCode.FORBIDDEN, f"{permission} is for admins of the platform.")
        gateway_of(request).signatures.require(request, permission)
        await require_fresh(request, permission)
        return caller

    return permitted


async def require_fresh(request: Request, permission: str) -> None:
    """A 401 where a change asks a user for a second factor that was shown just now."""
    bearer = bearer_of(request)
    if bearer is None or request.method in _READING:
        return
    try:
        await gateway_of(request).identity.step_up.require_for(bearer, permission)
    except Refusal:
        note_permission(request, STEP_UP)
        raise


async def require_enrolled(request: Request) -> None:
    """A 403 where a user of this role has to have a second factor, and has none."""
    bearer = bearer_of(request)
    if bearer is None:
        return
    try:
        await gateway_of(request).identity.step_up.require_enrolled(bearer)
    except Refusal:
        note_permission(request, STEP_UP)
        raise


def bearer_of(request: Request) -> Bearer | None:
    """What the access token said, that the router's guard took; None for a key."""
    return cast("Bearer | None", getattr(request.state, "bearer", None))


def note_permission(request: Request, permission: str) -> None:
    """Note what a request asks for; the witness tells of it, with the answer."""
    request.state.permission = permission


async def _tell_override(gateway: Gateway, request: Request, caller: Caller) -> None:
    """Say `admin.override` before anything else is done; where that cannot be said, nothing is."""
    data = Overridden(
        method=request.method,
        path=request.url.path,
        reason=caller.override,
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
        override=caller.override,
        data=data,
    )
    async with gateway.database.session() as session:
        await say(session, message)


def _acting(request: Request, bearer: Bearer) -> Caller:
    """The user in the project that they act in, if any; an admin of the platform in any, for a reason."""
    wanted = request.headers.get("X-Project-Id")
    if (known := bearer.acting.get(wanted)) is not None:
        return known
    who = _user(bearer)
    caller = acting_in(bearer, who, wanted)
    if caller is not None:
        bearer.acting[wanted] = caller
    if caller is None and who.is_platform_admin and wanted is not None:
        there = gateway_of(request).settings.projects
        caller = overriding(who, wanted, request.headers.get(OVERRIDE), there)
    return caller or who


async def _bearer(gateway: Gateway, token: str) -> Bearer | None:
    """What a token says, while its session is open and its user is as it says."""
    bearer = await gateway.identity.tokens.read(token)
    if bearer is None:
        return None
    is_open = await gateway.identity.sessions.is_open(bearer.session_id, bearer.version)
    return bearer if is_open else None


def _is_doubled(gateway: Gateway, request: Request, key: str | None, token: str) -> bool:
    """Whether a request has more than one credential."""
    by_keystone = gateway.identity.keystone and request.headers.get("X-Auth-Token")
    return bool(key) + bool(token) + bool(by_keystone) > 1


async def _from_keystone(request: Request) -> Caller | None:
    """Who is behind a token of Keystone, where those are taken."""
    token, keystone = request.headers.get("X-Auth-Token"), gateway_of(request).identity.keystone
    if not token or keystone is None:
        return None
    address = request.client.host if request.client else None
    return await keystone.caller(token, Asking(request_id_of(request), address))


def _token(request: Request) -> str:
    scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
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
