"""Challenges: random, for one purpose and one user, good once and for five minutes, at all gateways."""

import secrets
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.leases import Clock
from services.gateway.identity.tables import CHALLENGES

Purpose = Literal["half_login", "enrol", "passkey_login", "login", "step_up"]
LIFETIME = timedelta(minutes=5)
_BYTES = 32


class Challenges:
    """Makes them, and takes them back."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def make(
        self, session: AsyncSession, purpose: Purpose, user_id: UUID | None = None
    ) -> bytes:
        """A new one. Without `user_id`: for whoever answers it."""
        nonce = secrets.token_bytes(_BYTES)
        row = CHALLENGES.insert().values(
            nonce=nonce, purpose=purpose, user_id=user_id, expires_at=self.clock() + LIFETIME
        )
        await session.execute(row)
        return nonce

    async def take(
        self, session: AsyncSession, nonce: bytes, purpose: Purpose, user_id: UUID | None = None
    ) -> bool:
        """Use one up: of two who try at once, one does. False if there is none that is just this."""
        this = (CHALLENGES.c.nonce == nonce) & (CHALLENGES.c.purpose == purpose)
        whose = CHALLENGES.c.user_id == user_id if user_id else CHALLENGES.c.user_id.is_(None)
        taking = delete(CHALLENGES).where(this, whose, CHALLENGES.c.expires_at > self.clock())
        return await session.scalar(taking.returning(CHALLENGES.c.nonce)) is not None
