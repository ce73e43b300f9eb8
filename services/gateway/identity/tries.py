"""Tries at what can be guessed: counted before they are compared, for all gateways together."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Row, case, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.gateway.identity.tables import USERS

FIRST_LOCK = timedelta(seconds=30)
LONGEST_LOCK = timedelta(minutes=15)
_DOUBLINGS = 5


@dataclass(frozen=True)
class Tries:
    """Of one kind, in two columns of a user; `after` so many in a row the user is locked for them."""

    failures: Column[int]
    locked_until: Column[datetime]
    after: int

    async def count(
        self, session: AsyncSession, whose: ColumnElement[bool], now: datetime
    ) -> Row[Any] | None:
        """Count one; the user as it then is, None if there is none who may be tried now."""
        free = self.locked_until.is_(None) | (self.locked_until <= now)
        counting = update(USERS).where(whose, USERS.c.state == "active", free)
        values = {self.failures: self.failures + 1, self.locked_until: self._lock(now)}
        return (await session.execute(counting.values(values).returning(USERS))).first()

    @property
    def forgiven(self) -> dict[str, object]:
        """The columns once a try was right."""
        return {self.failures.name: 0, self.locked_until.name: None}

    def _lock(self, now: datetime) -> ColumnElement[datetime | None]:
        """Until when there are no more tries if this one is a failure, by how many there were."""
        first = self.after - 1
        steps = [(first + n, now + FIRST_LOCK * 2**n) for n in range(_DOUBLINGS)]
        cases = [(self.failures == before, until) for before, until in steps]
        many = self.failures >= first + _DOUBLINGS
        return case(*cases, (many, now + LONGEST_LOCK), else_=None)


def at_passwords(after: int) -> Tries:
    """Tries at passwords."""
    return Tries(USERS.c.failures, USERS.c.locked_until, after)


def at_codes(after: int) -> Tries:
    """Tries at codes. They are counted apart: who knows the password may forgive themselves no code."""
    return Tries(USERS.c.factor_failures, USERS.c.factor_locked_until, after)
