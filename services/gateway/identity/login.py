"""Logging in with a password: tries are counted before they are compared, for all gateways together.

Whatever is wrong, the answer and the work are the same: one statement that counts the try where there
is an account that may be tried, one comparison, one transaction that tells the audit.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, case, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.leases import Clock
from chassis.outbox import say
from contracts.access.identity import LoginFailed, UserLocked
from services.gateway.identity.challenge import unauthenticated
from services.gateway.identity.emails import folded
from services.gateway.identity.passwords import Passwords
from services.gateway.identity.saying import SOURCE, Aliases, Asking, told
from services.gateway.identity.sessions import Open, Sessions
from services.gateway.identity.tables import USERS
from services.gateway.identity.users import UserState

FIRST_LOCK = timedelta(seconds=30)
LONGEST_LOCK = timedelta(minutes=15)
REFUSED = "The e-mail address or the password is wrong, or the account cannot be used now."


class Login:
    """The one way to begin a session with a password."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        sessions: Sessions,
        aliases: Aliases,
        *,
        clock: Clock,
        lock_after: int,
    ) -> None:
        self.database = database
        self.clock = clock
        self._passwords = passwords
        self._sessions = sessions
        self._aliases = aliases
        self._lock_after = lock_after

    async def enter(self, email: str, password: str, asking: Asking) -> Open:
        """A new session; a 401 that says nothing about why not."""
        row = await self._count(email)
        right, better = await self._passwords.check(password, row.password if row else None)
        async with self.database.session() as session:
            opened = None
            if row is not None and right:
                opened = await self._let_in(session, row, better, asking)
            if opened is None:
                await self._tell_failed(session, email, row, asking)
        if opened is None:
            raise unauthenticated(REFUSED)
        return opened

    async def confirm(self, row: Row[Any], password: str, asking: Asking) -> None:
        """The same question to somebody who is logged in: a 401 if it is not their password."""
        counted = await self._count(row.email)
        right, _ = await self._passwords.check(password, counted.password if counted else None)
        async with self.database.session() as session:
            if counted is not None and right:
                await session.execute(_forgive(row))
            else:
                await self._tell_failed(session, row.email, counted, asking)
        if not right:
            raise unauthenticated("The password is wrong, or cannot be tried now.")

    async def _count(self, email: str) -> Row[Any] | None:
        """Count a try; None if there is no account of that address that may be tried now."""
        now = self.clock()
        may_be_tried = (USERS.c.state == UserState.ACTIVE.value) & (
            USERS.c.locked_until.is_(None) | (USERS.c.locked_until <= now)
        )
        trying = update(USERS).where(USERS.c.folded_email == folded(email), may_be_tried)
        trying = trying.values(failures=USERS.c.failures + 1, locked_until=self._lock(now))
        async with self.database.session() as session:
            return (await session.execute(trying.returning(USERS))).first()

    def _lock(self, now: datetime) -> ColumnElement[datetime | None]:
        """Until when the account is locked if this try is a failure, by how many there were."""
        steps = [(self._lock_after + n - 1, now + FIRST_LOCK * 2**n) for n in range(5)]
        cases = [(USERS.c.failures == before, until) for before, until in steps]
        many = USERS.c.failures >= self._lock_after + 4
        return case(*cases, (many, now + LONGEST_LOCK), else_=None)

    async def _let_in(
        self, session: AsyncSession, row: Row[Any], better: str | None, asking: Asking
    ) -> Open | None:
        """The session, unless the password or the state was changed while it was compared."""
        now = self.clock()
        values: dict[str, object] = {"failures": 0, "locked_until": None, "logged_in_at": now}
        values |= {"password": better} if better else {}
        still = (USERS.c.password == row.password) & (USERS.c.state == UserState.ACTIVE.value)
        letting = update(USERS).where(USERS.c.id == row.id, still).values(values)
        if await session.scalar(letting.returning(USERS.c.id)) is None:
            return None
        return await self._sessions.open(session, row.id, asking)

    async def _tell_failed(
        self, session: AsyncSession, email: str, row: Row[Any] | None, asking: Asking
    ) -> None:
        now, alias = self.clock(), self._aliases.of(email)
        known = row.id if row is not None else None
        failed = LoginFailed(alias=alias, user_id=known, address=asking.address)
        subject, request_id = known or alias, asking.request_id
        said = [told(failed, now, subject=subject, actor=SOURCE, request_id=request_id)]
        if row is not None and row.locked_until is not None:
            locked = UserLocked(user_id=row.id, failures=row.failures, until=row.locked_until)
            said.append(told(locked, now, subject=row.id, actor=SOURCE, request_id=request_id))
        await say(session, *said)


def _forgive(row: Row[Any]) -> Any:
    return update(USERS).where(USERS.c.id == row.id).values(failures=0, locked_until=None)
