"""Doing one thing at a time across replicas, within a transaction."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import is_postgres


async def exclusively(session: AsyncSession, name: str) -> None:
    """Wait until no other transaction holds `name`; held until this one ends.

    On SQLite a transaction that writes is alone anyway.
    """
    if is_postgres(session):
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"hostler.gateway.{name}"))
        await session.execute(sa.select(lock))
