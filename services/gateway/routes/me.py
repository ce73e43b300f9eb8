"""The caller themselves: who they are, what they may do, and what they change of their own account."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row

from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.outbox import say
from contracts.access.identity import LinkAsked, UserChanged
from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.vm.fields import Name
from contracts.vm.states import VmState
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Gateway, Here
from services.gateway.identity.emails import Email
from services.gateway.identity.permission import LOOKS, PERMISSIONS, Known, on_vm
from services.gateway.identity.saying import Asks, told
from services.gateway.identity.users import UserState, change, find, memberships, state_of
from services.gateway.reading import vms
from services.gateway.routes.guard import personal
from services.gateway.turns import COMMANDS, predicted, under_way

ROUTER = personal("/me", "me")
PERMITTED = personal("/permissions", "me")
Password = Annotated[str, Field(min_length=1, max_length=512)]


class UserShown(BaseModel):
    """A user."""

    id: UUID
    email: str
    name: str
    state: UserState
    is_admin: bool = Field(description="Admin of the platform.")
    memberships: dict[str, Role] = Field(description="Project → role.")
    created_at: datetime
    updated_at: datetime
    logged_in_at: datetime | None
    locked_until: datetime | None = Field(description="After wrong passwords.")


class Me(BaseModel):
    """Who is asking."""

    actor: str
    project_id: str | None = Field(description="The project that the request acts in.")
    role: Role | None = Field(description="In that project.")
    scopes: list[str] | None = Field(description="Null: all that the role covers.")
    is_platform_admin: bool
    key_id: UUID | None
    session_id: UUID | None
    user: UserShown | None = Field(description="Null for an API key.")


class ChangeMe(BaseModel):
    """What users may change of themselves at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name


class ChangePassword(BaseModel):
    """The password that it is, and the one that it is to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    current: Password
    password: Password


class ChangeEmail(BaseModel):
    """The address that it is to be, once the link that is sent there was followed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    email: Email
    password: Password


BODIES = (ChangeMe, ChangePassword, ChangeEmail)


class Permission(BaseModel):
    """One thing that may be done, and whether the caller may do it."""

    permission: str = Field(examples=["vm.reboot"])
    role: Role = Field(description="The role that covers it.")
    allowed: bool
    possible: bool | None = Field(
        default=None,
        description="With `vm_id`: whether the VM's state allows it once it is its turn.",
    )


class Permissions(BaseModel):
    """What the caller may do."""

    project_id: str | None
    vm_id: UUID | None
    permissions: list[Permission]
    roles: dict[Role, list[str]] = Field(description="Each role there is: what it is given.")


async def user_id_of(caller: Known) -> UUID:
    """The user who is asking; a 403 for a key, which has no account."""
    if caller.user_id is None:
        raise Terminal(ErrorCode.FORBIDDEN, "Only a user who has logged in has an account.")
    return caller.user_id


User = Annotated[UUID, Depends(user_id_of)]


def shown(row: Row[Any], projects: dict[str, Role], now: datetime) -> UserShown:
    """A user as the API shows them."""
    is_locked = row.locked_until is not None and now < row.locked_until
    return UserShown(
        id=row.id,
        email=row.email,
        name=row.name,
        state=state_of(row, now),
        is_admin=row.is_admin,
        memberships=projects,
        created_at=row.created_at,
        updated_at=row.updated_at,
        logged_in_at=row.logged_in_at,
        locked_until=row.locked_until if is_locked else None,
    )


@ROUTER.get("", responses=documents.problems())
async def show_me(gateway: Here, caller: Known) -> Me:
    """Say who is asking."""
    user = await _own(gateway, caller.user_id) if caller.user_id is not None else None
    return Me(
        actor=caller.actor,
        project_id=caller.project_id or None,
        role=caller.role if caller.project_id else None,
        scopes=None if caller.scopes is None else list(caller.scopes),
        is_platform_admin=caller.is_platform_admin,
        key_id=caller.key_id,
        session_id=caller.session_id,
        user=user,
    )


@ROUTER.patch(
    "",
    responses=documents.problems(ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(ChangeMe),
)
async def change_me(
    gateway: Here,
    asking: Asks,
    caller: Known,
    mine: User,
    wanted: Annotated[ChangeMe, Depends(body(ChangeMe))],
) -> UserShown:
    """Change one's name."""
    now = gateway.clock()
    async with gateway.database.session() as session:
        row = await find(session, mine, lock=True)
        await change(session, mine, now, retoken=False, name=wanted.name)
        said = UserChanged(user_id=mine, old={"name": row.name}, new={"name": wanted.name})
        message = told(said, now, subject=mine, actor=caller.actor, request_id=asking.request_id)
        await say(session, message)
    return await _own(gateway, mine)


@ROUTER.post(
    "/password",
    status_code=204,
    responses=documents.problems(ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(ChangePassword),
)
async def change_password(
    gateway: Here,
    asking: Asks,
    mine: User,
    wanted: Annotated[ChangePassword, Depends(body(ChangePassword))],
) -> Response:
    """Change one's password. All sessions end, this one too."""
    async with gateway.database.reading() as session:
        row = await find(session, mine)
    await gateway.identity.passing.set_by_password(row, wanted.current, wanted.password, asking)
    return Response(status_code=204)


@ROUTER.post(
    "/email",
    status_code=202,
    responses=documents.problems(ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(ChangeEmail),
)
async def change_email(
    gateway: Here,
    asking: Asks,
    caller: Known,
    mine: User,
    wanted: Annotated[ChangeEmail, Depends(body(ChangeEmail))],
) -> Response:
    """Have a link sent to another address; it is the account's once that was followed."""
    identity = gateway.identity
    async with gateway.database.reading() as session:
        row = await find(session, mine)
    await identity.login.confirm(row, wanted.password, asking)
    alias, now = identity.aliases.of(wanted.email), gateway.clock()
    asked = LinkAsked(alias=alias, purpose="email", address=asking.address)
    message = told(asked, now, subject=mine, actor=caller.actor, request_id=asking.request_id)
    async with gateway.database.session() as session:
        await identity.post.take(session, "email", wanted.email, user_id=mine)
        await say(session, message)
    return Response(status_code=202)


@PERMITTED.get("", responses=documents.problems(ErrorCode.NOT_FOUND))
async def show_permissions(
    gateway: Here,
    caller: Known,
    vm_id: Annotated[UUID | None, Query(description="And whether this VM allows it now.")] = None,
) -> Permissions:
    """What the caller may do in the project that they act in, and to a VM of it."""
    rules, possible = gateway.policy.rules, dict[str, bool]()
    if vm_id is not None:
        caller = await on_vm(gateway, caller, vm_id=vm_id)
        possible = await _possible(gateway, caller, vm_id)
    permissions = [
        Permission(
            permission=each,
            role=rules.needed[each],
            allowed=caller.may(rules.needed[each], each),
            possible=possible.get(each),
        )
        for each in sorted(PERMISSIONS)
    ]
    return Permissions(
        project_id=caller.project_id or None,
        vm_id=vm_id,
        permissions=permissions,
        roles={role: sorted(given) for role, given in rules.granted.items()},
    )


async def _possible(gateway: Gateway, caller: Caller, vm_id: UUID) -> dict[str, bool]:
    """Of each command on a VM: whether it would be accepted now."""
    permission, role = LOOKS
    if not caller.may(gateway.policy.needed(permission, role), permission):
        raise Terminal(ErrorCode.NOT_FOUND)
    async with gateway.database.reading() as session:
        row = await vms.find(session, caller.project_id, vm_id)
        waiting = (await under_way(session, [vm_id]))[vm_id]
    state = predicted(VmState(row.state), waiting)
    return {kind.permission(): state in kind.change.start for kind in COMMANDS.values()}


async def _own(gateway: Gateway, user_id: UUID) -> UserShown:
    async with gateway.database.reading() as session:
        row = await find(session, user_id)
        projects = (await memberships(session, [user_id]))[user_id]
    return shown(row, projects, gateway.clock())
