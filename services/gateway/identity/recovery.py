"""Recovery codes: ten of them, shown once, each good once in place of a second factor."""

import base64
import hmac
import secrets
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.leases import Clock
from services.gateway.identity.tables import RECOVERY_CODES

COUNT = 10
MAX_LENGTH = 64
_BYTES = 10
_GROUP = 4


class RecoveryCodes:
    """Makes and uses them. What is stored is a hash with a key that is not in the database."""

    def __init__(self, pepper: bytes, clock: Clock) -> None:
        self.clock = clock
        self._pepper = pepper

    async def make(self, session: AsyncSession, user_id: UUID) -> list[str]:
        """New ones; those of before are gone."""
        await drop(session, user_id)
        codes = [_new() for _ in range(COUNT)]
        rows = [{"hash": self._hash(user_id, each)} for each in codes]
        shared = {"user_id": user_id, "made_at": self.clock()}
        await session.execute(RECOVERY_CODES.insert(), [row | shared for row in rows])
        return codes

    async def take(self, session: AsyncSession, user_id: UUID, code: str) -> bool:
        """Use one up; of two who try at once, one does."""
        this = (RECOVERY_CODES.c.hash == self._hash(user_id, code)) & _unused(user_id)
        taking = update(RECOVERY_CODES).where(this).values(used_at=self.clock())
        return await session.scalar(taking.returning(RECOVERY_CODES.c.hash)) is not None

    def _hash(self, user_id: UUID, code: str) -> bytes:
        plain = "".join(code[:MAX_LENGTH].split()).replace("-", "").lower()
        return hmac.digest(self._pepper, user_id.bytes + plain.encode(), "sha256")


async def left(session: AsyncSession, user_id: UUID) -> int:
    """How many a user has that were not used."""
    counting = select(func.count()).select_from(RECOVERY_CODES).where(_unused(user_id))
    return await session.scalar(counting) or 0


async def drop(session: AsyncSession, user_id: UUID) -> None:
    """A user has none any more."""
    await session.execute(delete(RECOVERY_CODES).where(RECOVERY_CODES.c.user_id == user_id))


def _unused(user_id: UUID) -> ColumnElement[bool]:
    return (RECOVERY_CODES.c.user_id == user_id) & RECOVERY_CODES.c.used_at.is_(None)


def _new() -> str:
    text = base64.b32encode(secrets.token_bytes(_BYTES)).decode().lower()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))
