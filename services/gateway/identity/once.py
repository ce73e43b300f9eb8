"""Things that are good once, at all gateways together: logins that were begun, tokens with an id."""

import hashlib
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from services.gateway.identity.oidc.tables import USED_ONCE


async def use(session: AsyncSession, issuer: str, token: str, until: datetime) -> bool:
    """Use it up; whether it was new. `until`: when it would not hold any more."""
    row = insert(session, USED_ONCE).values(issuer=issuer, token=_short(token), until=until)
    taken = row.on_conflict_do_nothing().returning(USED_ONCE.c.token)
    return await session.scalar(taken) is not None


async def was_used(session: AsyncSession, issuer: str, token: str) -> bool:
    """Whether somebody has used it."""
    this = (USED_ONCE.c.issuer == issuer) & (USED_ONCE.c.token == _short(token))
    return await session.scalar(select(USED_ONCE.c.token).where(this)) is not None


async def forget_used(session: AsyncSession, now: datetime) -> None:
    """Forget what would not hold any more by itself."""
    await session.execute(delete(USED_ONCE).where(USED_ONCE.c.until < now))


def _short(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
