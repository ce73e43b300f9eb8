"""Service accounts as rows: what there is in a project, and what each may do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from chassis.errors import Terminal
from chassis.ids import new_id
from contracts.errors import ErrorCode
from contracts.identity import Role
from services.gateway.identity.accounts.tables import SERVICE_ACCOUNTS


@dataclass(frozen=True)
class NewAccount:
    """One that is to be made. `scopes`: None is all that the role covers."""

    project_id: str
    name: str
    role: Role
    created_by: str
    description: str | None = None
    scopes: Sequence[str] | None = None


async def add(session: AsyncSession, new: NewAccount, now: datetime) -> Row[Any]:
    """The row of a new one, which has no secret yet; a 409 if the name is taken."""
    row = insert(session, SERVICE_ACCOUNTS).values(
        id=new_id(),
        project_id=new.project_id,
        name=new.name,
        description=new.description,
        role=new.role.value,
        scopes=None if new.scopes is None else list(new.scopes),
        enabled=True,
        version=1,
        failures=0,
        created_at=now,
        created_by=new.created_by,
        updated_at=now,
    )
    made = await session.execute(row.on_conflict_do_nothing().returning(SERVICE_ACCOUNTS))
    found = made.first()
    if found is None:
        raise _taken(new.name)
    return found


async def find(
    session: AsyncSession, project_id: str, account_id: UUID, *, lock: bool = False
) -> Row[Any]:
    """A row of the project; Terminal(NOT_FOUND)."""
    this = (SERVICE_ACCOUNTS.c.id == account_id) & (SERVICE_ACCOUNTS.c.project_id == project_id)
    query = select(SERVICE_ACCOUNTS).where(this)
    row = (await session.execute(query.with_for_update() if lock else query)).first()
    if row is None:
        raise Terminal(ErrorCode.NOT_FOUND)
    return row


async def change(
    session: AsyncSession, account_id: UUID, now: datetime, *, retoken: bool, **columns: object
) -> None:
    """Set columns; a 409 if the name is taken. `retoken`: tokens given out are refused from now on."""
    version = {"version": SERVICE_ACCOUNTS.c.version + 1} if retoken else {}
    values = {"updated_at": now, **version, **columns}
    try:
        this = SERVICE_ACCOUNTS.c.id == account_id
        await session.execute(update(SERVICE_ACCOUNTS).where(this).values(values))
    except IntegrityError as error:
        raise _taken(str(columns.get("name", ""))) from error


async def remove(session: AsyncSession, account_id: UUID) -> None:
    """Have it gone."""
    await session.execute(delete(SERVICE_ACCOUNTS).where(SERVICE_ACCOUNTS.c.id == account_id))


def _taken(name: str) -> Terminal:
    return Terminal(ErrorCode.CONFLICT, f"The project has a service account named {name!r}.")
