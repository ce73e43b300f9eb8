"""Users as rows: who there is, in which state, and in which projects with which role."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.database import changed, insert
from chassis.errors import Terminal
from chassis.ids import new_id
from contracts.errors import ErrorCode
from contracts.identity import Role
from services.gateway.identity.emails import folded
from services.gateway.identity.oidc.tables import RULED_ROLES
from services.gateway.identity.tables import MEMBERSHIPS, USERS


class UserState(StrEnum):
    """Where a user is in their life. Wrong passwords lock an active one for a while, besides."""

    INVITED = "invited"
    ACTIVE = "active"
    LOCKED = "locked"
    DISABLED = "disabled"


@dataclass(frozen=True)
class NewUser:
    """Somebody who is to be invited."""

    email: str
    name: str
    created_by: str
    is_admin: bool = False
    memberships: Mapping[str, Role] = field(default_factory=dict[str, Role])


async def add(session: AsyncSession, new: NewUser, now: datetime) -> UUID | None:
    """The id of the new user; None if the e-mail address has one."""
    user_id = new_id()
    row = insert(session, USERS).values(
        id=user_id,
        email=new.email,
        folded_email=folded(new.email),
        name=new.name,
        state=UserState.INVITED.value,
        is_admin=new.is_admin,
        version=1,
        failures=0,
        created_at=now,
        created_by=new.created_by,
        updated_at=now,
    )
    added = await session.scalar(row.on_conflict_do_nothing().returning(USERS.c.id))
    if added is None:
        return None
    await join(session, user_id, new.memberships, now)
    return user_id


async def join(
    session: AsyncSession, user_id: UUID, memberships: Mapping[str, Role | None], now: datetime
) -> None:
    """Give a user these roles; None takes them out of a project.

    Terminal(CONFLICT) for less than what rules about their claims give: that is taken at the provider.
    """
    await _heed_rules(session, user_id, memberships)
    await place(session, user_id, memberships, now)


async def place(
    session: AsyncSession, user_id: UUID, memberships: Mapping[str, Role | None], now: datetime
) -> None:
    """The same, whatever rules say."""
    for project_id, role in memberships.items():
        if role is None:
            theirs = MEMBERSHIPS.c.user_id == user_id, MEMBERSHIPS.c.project_id == project_id
            await session.execute(delete(MEMBERSHIPS).where(*theirs))
            continue
        row = insert(session, MEMBERSHIPS).values(
            user_id=user_id, project_id=project_id, role=role.value, since=now
        )
        await session.execute(
            row.on_conflict_do_update(
                index_elements=["user_id", "project_id"], set_={"role": role.value}
            )
        )


async def _heed_rules(
    session: AsyncSession, user_id: UUID, memberships: Mapping[str, Role | None]
) -> None:
    """Note what an admin gives where rules give something, too: it stays when that goes."""
    theirs = RULED_ROLES.c.user_id == user_id
    query = select(RULED_ROLES).where(theirs, RULED_ROLES.c.project_id.in_(memberships))
    for row in (await session.execute(query)).all():
        role = memberships[row.project_id]
        if role is None or not role.covers(Role(row.role)):
            detail = f"In {row.project_id!r} a rule about claims gives the role {row.role}."
            raise Terminal(ErrorCode.CONFLICT, detail)
        this = RULED_ROLES.c.project_id == row.project_id
        await session.execute(update(RULED_ROLES).where(theirs, this).values(given=role.value))


async def find(session: AsyncSession, user_id: UUID, *, lock: bool = False) -> Row[Any]:
    """A user's row; Terminal(NOT_FOUND). `lock`: nobody else changes it until the transaction ends."""
    query = select(USERS).where(USERS.c.id == user_id)
    row = (await session.execute(query.with_for_update() if lock else query)).first()
    if row is None:
        raise Terminal(ErrorCode.NOT_FOUND)
    return row


async def by_email(session: AsyncSession, email: str) -> Row[Any] | None:
    """The user of an e-mail address."""
    query = select(USERS).where(USERS.c.folded_email == folded(email))
    return (await session.execute(query)).first()


async def memberships(
    session: AsyncSession, user_ids: Collection[UUID]
) -> dict[UUID, dict[str, Role]]:
    """Of each user: project → role."""
    found: dict[UUID, dict[str, Role]] = {each: {} for each in user_ids}
    query = select(MEMBERSHIPS).where(among(MEMBERSHIPS.c.user_id, user_ids))
    for row in (await session.execute(query.order_by(MEMBERSHIPS.c.project_id))).all():
        found[row.user_id][row.project_id] = Role(row.role)
    return found


async def change(
    session: AsyncSession, user_id: UUID, now: datetime, *, retoken: bool, **columns: object
) -> bool:
    """Set columns of a user. `retoken`: access tokens that were given out are refused from now on."""
    version = {"version": USERS.c.version + 1} if retoken else {}
    values = {"updated_at": now, **version, **columns}
    statement = update(USERS).where(USERS.c.id == user_id).values(values)
    return await changed(session, statement) == 1


def state_of(row: Row[Any], now: datetime) -> UserState:
    """The state as people see it: wrong passwords may have locked it for now."""
    state = UserState(row.state)
    is_locked = row.locked_until is not None and now < row.locked_until
    return UserState.LOCKED if state is UserState.ACTIVE and is_locked else state
