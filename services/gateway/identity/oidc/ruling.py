"""Roles by rules in the database: what rules gave goes when the claims go, what an admin gave stays."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from contracts.identity import Role
from services.gateway.identity.oidc.tables import RULED_ROLES
from services.gateway.identity.users import memberships, place

Changes = dict[str, tuple[Role | None, Role | None]]
"""Project → the role before, the role now."""


async def rule(
    session: AsyncSession, user_id: UUID, wanted: Mapping[str, Role], now: datetime
) -> Changes:
    """Have a user have what rules give now; what that changed."""
    before = (await memberships(session, [user_id]))[user_id]
    query = select(RULED_ROLES).where(RULED_ROLES.c.user_id == user_id)
    ruled = {row.project_id: row for row in (await session.execute(query)).all()}
    changes: Changes = {}
    for project in sorted({*ruled, *wanted}):
        kept = ruled[project].given if project in ruled else before.get(project)
        given, by_rule = Role(kept) if kept else None, wanted.get(project)
        await _note(session, user_id, project, by_rule, given)
        changes[project] = before.get(project), _greater(given, by_rule)
    changes = {project: each for project, each in changes.items() if each[0] != each[1]}
    await place(session, user_id, {project: new for project, (_, new) in changes.items()}, now)
    return changes


async def _note(
    session: AsyncSession, user_id: UUID, project_id: str, role: Role | None, given: Role | None
) -> None:
    this = (RULED_ROLES.c.user_id == user_id) & (RULED_ROLES.c.project_id == project_id)
    if role is None:
        await session.execute(delete(RULED_ROLES).where(this))
        return
    said = {"role": role.value, "given": given.value if given else None}
    row = insert(session, RULED_ROLES).values(user_id=user_id, project_id=project_id, **said)
    keys = ["user_id", "project_id"]
    await session.execute(row.on_conflict_do_update(index_elements=keys, set_=said))


def _greater(one: Role | None, other: Role | None) -> Role | None:
    if one is None or other is None:
        return one or other
    return one if one.covers(other) else other
