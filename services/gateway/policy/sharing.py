"""Whose VMs are: what a caller of an owner-only project sees, and what is shared with them."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.identity import Caller
from contracts.identity import Role
from services.gateway.policy.tables import GRANTS
from services.gateway.tables import OPERATIONS, VMS

_USER = "user:"


def user_behind(caller: Caller) -> UUID | None:
    """The user who asks, or who made the key that does: what is shared is shared with users."""
    if caller.user_id is not None:
        return caller.user_id
    owner = caller.owner
    return UUID(owner.removeprefix(_USER)) if owner.startswith(_USER) else None


def narrow(query: Select[Any], caller: Caller, vm_id: ColumnElement[UUID]) -> Select[Any]:
    """The query, of whose rows `vm_id` is the VM, for what the caller sees of the project."""
    return query.where(vm_id.in_(_seen(caller))) if caller.is_private else query


async def seen_among(
    session: AsyncSession, caller: Caller, vm_ids: Collection[UUID]
) -> frozenset[UUID]:
    """Those of the VMs that a private caller sees."""
    if not vm_ids:
        return frozenset()
    query = narrow(select(VMS.c.id).where(among(VMS.c.id, vm_ids)), caller, VMS.c.id)
    return frozenset(await session.scalars(query))


@dataclass(frozen=True)
class Standing:
    """What a caller is to one VM of the project."""

    is_owner: bool
    shared_as: Role | None


async def standing_of(
    session: AsyncSession,
    caller: Caller,
    *,
    vm_id: UUID | None = None,
    operation_id: UUID | None = None,
) -> Standing | None:
    """What the caller is to a VM, or to that of an operation; None if the project has no such one."""
    shared = (GRANTS.c.vm_id == VMS.c.id) & (GRANTS.c.user_id == user_behind(caller))
    shared &= GRANTS.c.project_id == VMS.c.project_id
    query = select(VMS.c.owner, GRANTS.c.role).outerjoin(GRANTS, shared)
    query = query.where(VMS.c.project_id == caller.project_id)
    if operation_id is not None:
        its = select(OPERATIONS.c.vm_id).where(OPERATIONS.c.id == operation_id)
        query = query.where(VMS.c.id == its.scalar_subquery())
    else:
        query = query.where(VMS.c.id == vm_id)
    row = (await session.execute(query)).first()
    if row is None:
        return None
    is_owner = row.owner in {caller.owner, caller.actor}
    return Standing(is_owner, Role(row.role) if row.role else None)


def _seen(caller: Caller) -> Select[Any]:
    own = select(VMS.c.id).where(
        VMS.c.project_id == caller.project_id, VMS.c.owner.in_({caller.owner, caller.actor})
    )
    shared = select(GRANTS.c.vm_id).where(
        GRANTS.c.project_id == caller.project_id, GRANTS.c.user_id == user_behind(caller)
    )
    return select(union_all(own, shared).subquery().c[0])
