"""Users: admins of the platform invite and change them; admins of a project those of their project."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import act_as_service
from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.outbox import say
from chassis.problems import invalid
from contracts.access.identity import UserChanged, UserInvited
from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.vm.fields import Name
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Gateway, Here, gateway_of
from services.gateway.identity.emails import Email, folded
from services.gateway.identity.oidc.binding import is_federated
from services.gateway.identity.permission import Known, permit, require_fresh
from services.gateway.identity.saying import Asking, Asks, told
from services.gateway.identity.tables import MEMBERSHIPS, SESSIONS, USERS
from services.gateway.identity.users import NewUser, UserState, add, change, find, join, memberships
from services.gateway.locks import exclusively
from services.gateway.pages import Limit, Marker, Order, Page
from services.gateway.reading.pages import page_of
from services.gateway.routes.guard import guarded
from services.gateway.routes.me import UserShown, shown

ROUTER = guarded("/users", "users")
_PERMISSION = "user.manage"
_ORDER = Order("created_at", USERS.c.created_at, USERS.c.id)
_permitted = permit(Role.ADMIN, _PERMISSION)


async def managing(request: Request, caller: Known) -> Caller:
    """An admin of the platform, or of the project that they act in."""
    if not caller.is_platform_admin:
        return await _permitted(request)
    act_as_service()  # users are in many projects
    gateway_of(request).signatures.require(request, _PERMISSION)
    await require_fresh(request, _PERMISSION)
    return caller


Manager = Annotated[Caller, Depends(managing)]


class InviteUser(BaseModel):
    """Who is to have an account; a link is mailed to them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    email: Email
    name: Name | None = None
    memberships: dict[str, Role] = Field(
        default_factory=dict[str, Role], max_length=100, examples=[{"demo": "operator"}]
    )
    is_admin: bool = Field(default=False, description="Admin of the platform.")


class ChangeUser(BaseModel):
    """What is to be otherwise; the rest stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name | None = None
    state: Literal["active", "locked", "disabled"] | None = Field(
        default=None, description="`active` also ends a lock that wrong passwords led to."
    )
    is_admin: bool | None = None
    memberships: dict[str, Role | None] = Field(
        default_factory=dict[str, Role | None],
        max_length=100,
        description="Project → role; null takes the user out of it. Others stay.",
        examples=[{"demo": "admin", "old": None}],
    )


BODIES = (InviteUser, ChangeUser)


@ROUTER.post(
    "",
    status_code=201,
    responses=documents.problems(ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(InviteUser),
)
async def invite_user(
    gateway: Here,
    asking: Asks,
    caller: Manager,
    wanted: Annotated[InviteUser, Depends(body(InviteUser))],
) -> UserShown:
    """Make a user and mail them a link by which they choose a password."""
    _require_may_invite(gateway, caller, wanted)
    now = gateway.clock()
    new = NewUser(
        wanted.email, wanted.name or "", caller.actor, wanted.is_admin, wanted.memberships
    )
    async with gateway.database.session() as session:
        user_id = await add(session, new, now)
        if user_id is None:
            raise Terminal(ErrorCode.CONFLICT, "That e-mail address has an account already.")
        await gateway.identity.post.take(session, "invitation", wanted.email, user_id=user_id)
        invited = UserInvited(
            user_id=user_id, memberships=wanted.memberships, is_admin=wanted.is_admin
        )
        for project in wanted.memberships or {"": None}:
            message = told(
                invited,
                now,
                subject=user_id,
                actor=caller.actor,
                request_id=asking.request_id,
                project=project,
            )
            await say(session, message)
        return await _shown(gateway, session, caller, await find(session, user_id))


@ROUTER.get("", responses=documents.problems())
async def list_users(
    *,
    request: Request,
    gateway: Here,
    caller: Manager,
    email: Annotated[str | None, Query(max_length=254, description="With this address.")] = None,
    limit: Limit = 100,
    marker: Marker = None,
) -> Page[UserShown]:
    """List users: an admin of the platform all of them, one of a project its members."""
    query = _seen_by(caller)
    if email is not None:
        query = query.where(USERS.c.folded_email == folded(email))
    page = await page_of(gateway, request, query, _ORDER, _as_it_is, limit=limit, marker=marker)
    async with gateway.database.reading() as session:
        projects = await memberships(session, [row.id for row in page.items])
    now = gateway.clock()
    items = [shown(row, _of(caller, projects[row.id]), now) for row in page.items]
    return Page(items=items, links=page.links, total=page.total)


@ROUTER.get("/{user_id}", responses=documents.problems(ErrorCode.NOT_FOUND))
async def show_user(user_id: UUID, gateway: Here, caller: Manager) -> UserShown:
    """Show a user."""
    async with gateway.database.reading() as session:
        return await _shown(gateway, session, caller, await _find(session, caller, user_id))


@ROUTER.patch(
    "/{user_id}",
    responses=documents.problems(
        ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE
    ),
    openapi_extra=documented(ChangeUser),
)
async def change_user(
    user_id: UUID,
    gateway: Here,
    asking: Asks,
    caller: Manager,
    wanted: Annotated[ChangeUser, Depends(body(ChangeUser))],
) -> UserShown:
    """Change a user's name, state, roles. Admins of a project change the role in it alone.

    Access tokens that say otherwise are refused from now on: clients refresh them. A user who is not
    active any more has no sessions either.
    """
    async with gateway.database.session() as session:
        await exclusively(session, "users.change")
        row = await _find(session, caller, user_id, lock=True)
        _require_may_change(gateway, caller, wanted)
        await _require_an_admin_stays(session, row, wanted)
        await _change(gateway, session, Changing(row, caller, asking), wanted)
        answer = await _shown(gateway, session, caller, await find(session, user_id))
    gateway.identity.sessions.forget()
    gateway.keys.forget()
    return answer


@ROUTER.post(
    "/{user_id}/invitation",
    status_code=202,
    responses=documents.problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT),
)
async def invite_again(user_id: UUID, gateway: Here, caller: Manager) -> Response:
    """Mail the link of an invitation once more."""
    async with gateway.database.session() as session:
        row = await _find(session, caller, user_id)
        if row.state != UserState.INVITED.value:
            raise Terminal(ErrorCode.CONFLICT, "The user has followed the link already.")
        await gateway.identity.post.take(session, "invitation", row.email, user_id=row.id)
    return Response(status_code=202)


def _require_may_invite(gateway: Gateway, caller: Caller, wanted: InviteUser) -> None:
    _require_projects(gateway, wanted.memberships)
    _require_roles(gateway, caller, wanted.memberships)
    if caller.is_platform_admin:
        return
    _require_whole(caller, wanted.memberships)
    if gateway.settings.registration == "closed":
        raise Terminal(ErrorCode.FORBIDDEN, "Only admins of the platform invite users here.")
    if wanted.is_admin or set(wanted.memberships) != {caller.project_id}:
        sentence = "An admin of a project invites into that project, and no admins of the platform."
        raise Terminal(ErrorCode.FORBIDDEN, sentence)


def _require_may_change(gateway: Gateway, caller: Caller, wanted: ChangeUser) -> None:
    _require_projects(gateway, wanted.memberships)
    _require_roles(gateway, caller, wanted.memberships)
    if caller.is_platform_admin:
        return
    _require_whole(caller, wanted.memberships)
    beyond = wanted.model_fields_set - {"memberships"}
    if beyond or not set(wanted.memberships) <= {caller.project_id}:
        raise Terminal(ErrorCode.FORBIDDEN, "An admin of a project changes roles in it alone.")


def _require_whole(caller: Caller, given: "dict[str, Role] | dict[str, Role | None]") -> None:
    """A 403 for a key that is narrowed by scopes: a role that it gave would be none of them."""
    if not caller.has("*") and any(role is not None for role in given.values()):
        raise Terminal(ErrorCode.FORBIDDEN, "A key that is narrowed by scopes gives no roles.")


def _require_projects(gateway: Gateway, named: "dict[str, Role] | dict[str, Role | None]") -> None:
    """A 400 for a project that the settings do not name; to be taken out of one, it need not be."""
    for project, role in named.items():
        if role is not None and project not in gateway.settings.projects:
            raise invalid("body.memberships", f"There is no project {project[:80]!r}.")


def _require_roles(
    gateway: Gateway, caller: Caller, given: "dict[str, Role] | dict[str, Role | None]"
) -> None:
    for role in given.values():
        if role is not None:
            gateway.policy.require_may_give(caller, role, "body.memberships")


async def _require_an_admin_stays(session: AsyncSession, row: Row[Any], wanted: ChangeUser) -> None:
    is_active_admin = row.is_admin and row.state == UserState.ACTIVE.value
    goes = wanted.is_admin is False or wanted.state in {"locked", "disabled"}
    if not (is_active_admin and goes):
        return
    others = select(func.count()).where(
        USERS.c.is_admin, USERS.c.state == UserState.ACTIVE.value, USERS.c.id != row.id
    )
    if not await session.scalar(others):
        raise Terminal(ErrorCode.CONFLICT, "This is the platform's last admin.")


@dataclass(frozen=True)
class Changing:
    """A user who is changed, by whom, and by which request."""

    row: Row[Any]
    caller: Caller
    asking: Asking


async def _change(
    gateway: Gateway, session: AsyncSession, changing: Changing, wanted: ChangeUser
) -> None:
    now, row = gateway.clock(), changing.row
    before = (await memberships(session, [row.id]))[row.id]
    joined = {p: r for p, r in wanted.memberships.items() if before.get(p) != r}
    columns = _columns(row, wanted, may_be_active=await _may_be_active(session, row))
    retoken = bool(joined or {"state", "is_admin"} & set(columns))
    await change(session, row.id, now, retoken=retoken, **columns)
    await join(session, row.id, joined, now)
    if wanted.state in {"locked", "disabled"}:
        theirs, actor = SESSIONS.c.user_id == row.id, changing.caller.actor
        await gateway.identity.sessions.close(
            session, theirs, "state", actor=actor, asking=changing.asking
        )
    for project, (old, new) in _told_changes(row, columns, before, joined).items():
        message = told(
            UserChanged(user_id=row.id, old=old, new=new),
            now,
            subject=row.id,
            actor=changing.caller.actor,
            request_id=changing.asking.request_id,
            project=project,
        )
        await say(session, message)


async def _may_be_active(session: AsyncSession, row: Row[Any]) -> bool:
    """Whether there is a way for them to log in: a password, or a provider."""
    return row.password is not None or await is_federated(session, row.id)


def _columns(row: Row[Any], wanted: ChangeUser, *, may_be_active: bool) -> dict[str, Any]:
    """What of a user's row is to be otherwise."""
    said = wanted.model_dump(exclude={"memberships"}, exclude_none=True)
    columns = {name: value for name, value in said.items() if getattr(row, name) != value}
    if columns.get("state") == "active" and not may_be_active:
        raise Terminal(ErrorCode.CONFLICT, "An invited user becomes active by the link.")
    if wanted.state == "active" and row.failures:
        columns |= {"failures": 0, "locked_until": None}
    return columns


Sides = tuple[dict[str, JsonValue], dict[str, JsonValue]]


def _told_changes(
    row: Row[Any],
    columns: dict[str, Any],
    before: dict[str, Role],
    joined: dict[str, Role | None],
) -> dict[str, Sides]:
    """By project what its audit is told: of roles the project's, of all else the platform's."""
    changes: dict[str, Sides] = {}
    own = {name: value for name, value in columns.items() if name != "locked_until"}
    if own:
        changes[""] = {name: getattr(row, name) for name in own}, own
    for project, role in joined.items():
        was = before.get(project)
        changes[project] = {"role": was and was.value}, {"role": role and role.value}
    return changes


def _seen_by(caller: Caller) -> Select[Any]:
    query = select(USERS)
    if caller.is_platform_admin:
        return query
    mine = MEMBERSHIPS.c.project_id == caller.project_id
    return query.join(MEMBERSHIPS, (MEMBERSHIPS.c.user_id == USERS.c.id) & mine)


async def _find(
    session: AsyncSession, caller: Caller, user_id: UUID, *, lock: bool = False
) -> Row[Any]:
    """A user that the caller may know of; Terminal(NOT_FOUND)."""
    seen = _seen_by(caller).where(USERS.c.id == user_id).with_only_columns(USERS.c.id)
    if (await session.execute(seen)).first() is None:
        raise Terminal(ErrorCode.NOT_FOUND)
    return await find(session, user_id, lock=lock)


async def _shown(
    gateway: Gateway, session: AsyncSession, caller: Caller, row: Row[Any]
) -> UserShown:
    projects = (await memberships(session, [row.id]))[row.id]
    return shown(row, _of(caller, projects), gateway.clock())


def _of(caller: Caller, projects: dict[str, Role]) -> dict[str, Role]:
    """What of a user's memberships the caller may know."""
    if caller.is_platform_admin:
        return projects
    return {p: role for p, role in projects.items() if p == caller.project_id}


def _as_it_is(row: Row[Any]) -> Row[Any]:
    return row
