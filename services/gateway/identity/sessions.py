"""Sessions: a login, and the refresh tokens that follow from it, each of which is good once.

A refresh token that comes again ends its session, since somebody has a copy. Within some seconds of
its use it may be the same client asking twice at once: that ends nothing, but gives nothing, either;
so at no time are there two tokens of one session that work. See docs/decisions/0032.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.ids import new_id
from chassis.leases import Clock
from chassis.outbox import say
from chassis.problems import Refusal
from contracts.access.identity import (
    Ended,
    RefreshReused,
    SessionClosed,
    SessionOpened,
    SessionRaised,
)
from contracts.errors import ErrorCode
from services.gateway.identity.challenge import unauthenticated
from services.gateway.identity.methods import Evidence, by_password
from services.gateway.identity.saying import Asking, told, user
from services.gateway.identity.tables import FACTORS, REFRESH_TOKENS, SESSIONS, USERS
from services.gateway.identity.trust import Trusted

GRACE = timedelta(seconds=10)
PREFIX = "hr_"
MAX_LENGTH = 256


@dataclass(frozen=True)
class Open:
    """A session at the only moment at which its newest refresh token is known."""

    id: UUID
    user_id: UUID
    refresh_token: str
    expires_at: datetime
    """When the refresh token does."""
    shown: Evidence


@dataclass(frozen=True)
class Standing:
    """What is asked of the database about an access token's session and user."""

    version: int
    expires_at: datetime
    has_factor: bool
    """Whether the user has a second factor."""


class Sessions:
    """Opens, refreshes and closes them; knows which ones are open."""

    def __init__(
        self,
        database: Database,
        pepper: bytes,
        clock: Clock,
        *,
        lifetime: timedelta,
        idle: timedelta,
        cached_for: timedelta,
    ) -> None:
        self.database = database
        self.clock = clock
        self._pepper = pepper
        self._lifetime = lifetime
        self._idle = idle
        self._standing: Trusted[UUID, Standing] = Trusted(self._ask, clock, cached_for)

    async def is_open(self, session_id: UUID, version: int) -> bool:
        """Whether a session is, and its user active and as they were in `version`."""
        standing = await self.standing(session_id)
        return (
            standing is not None
            and standing.version == version
            and self.clock() < standing.expires_at
        )

    async def standing(self, session_id: UUID) -> Standing | None:
        """What is known of an open session, some seconds old at most."""
        return await self._standing.get(session_id)

    def forget(self) -> None:
        """Look at every session anew: something of it, or of a user, was changed here."""
        self._standing.forget()

    async def open(
        self, session: AsyncSession, user_id: UUID, asking: Asking, shown: Evidence | None = None
    ) -> Open:
        """A new one. `shown`: how its user showed that it is them; by default their password."""
        now = self.clock()
        shown = shown or by_password(now)
        ends = now + self._lifetime
        session_id = new_id()
        row = SESSIONS.insert().values(
            id=session_id,
            user_id=user_id,
            created_at=now,
            refreshed_at=now,
            expires_at=ends,
            address=asking.address,
            client=asking.client,
            **_columns(shown),
        )
        await session.execute(row)
        opened = SessionOpened(
            user_id=user_id, session_id=session_id, address=asking.address, amr=shown.amr
        )
        await self._say(session, opened, user_id, asking)
        return await self._token(session, (session_id, user_id, shown), ends)

    async def lift(
        self, session: AsyncSession, session_id: UUID, shown: Evidence, asking: Asking
    ) -> bool:
        """Write down what its user has shown within it; whether it is open still."""
        still = SESSIONS.c.closed_at.is_(None) & _unexpired(self.clock())
        lifting = update(SESSIONS).where(SESSIONS.c.id == session_id, still)
        lifting = lifting.values(_columns(shown)).returning(SESSIONS.c.user_id)
        user_id = await session.scalar(lifting)
        if user_id is None:
            return False
        raised = SessionRaised(
            user_id=user_id, session_id=session_id, amr=shown.amr, address=asking.address
        )
        await self._say(session, raised, user_id, asking)
        return True

    def open_ones(self, user_id: UUID) -> Select[Any]:
        """A user's sessions that can still go on."""
        now = self.clock()
        going = SESSIONS.c.closed_at.is_(None) & _unexpired(now)
        fresh = SESSIONS.c.refreshed_at > now - self._idle
        return select(SESSIONS).where(SESSIONS.c.user_id == user_id, going, fresh)

    async def refresh(self, token: str, asking: Asking) -> Open:
        """A new refresh token for an old one; a 401 if it does not hold, a 409 if it was just used."""
        digest = self._hash(token)
        async with self.database.session() as session:
            taken = await self._take(session, digest)
            opened = await self._renew(session, taken) if taken is not None else None
            refusal = None if taken else await self._refuse(session, digest, asking)
        if opened is None:
            raise refusal or unauthenticated("The session is over: log in.")
        return opened

    async def close(
        self,
        session: AsyncSession,
        which: ColumnElement[bool],
        why: Ended,
        *,
        actor: str,
        asking: Asking,
    ) -> int:
        """End those that are open; how many there were."""
        now = self.clock()
        closing = update(SESSIONS).where(which, SESSIONS.c.closed_at.is_(None), _unexpired(now))
        closing = closing.values(closed_at=now).returning(SESSIONS.c.id, SESSIONS.c.user_id)
        rows = (await session.execute(closing)).all()
        for row in rows:
            closed = SessionClosed(user_id=row.user_id, session_id=row.id, why=why)
            message = told(
                closed, now, subject=row.user_id, actor=actor, request_id=asking.request_id
            )
            await say(session, message)
        return len(rows)

    async def end(self, token: str, asking: Asking) -> None:
        """Close the session of a refresh token, if there is one; used ones will do, too."""
        async with self.database.session() as session:
            row = await self._find(session, self._hash(token))
            if row is not None:
                mine, actor = SESSIONS.c.id == row.session_id, user(row.user_id)
                await self.close(session, mine, "logout", actor=actor, asking=asking)
        self.forget()

    async def _take(self, session: AsyncSession, digest: bytes) -> UUID | None:
        """Use a token up; of two who try at once one does. None if it is not there to be used."""
        now = self.clock()
        unused = REFRESH_TOKENS.c.used_at.is_(None) & (REFRESH_TOKENS.c.expires_at > now)
        taking = update(REFRESH_TOKENS).where(REFRESH_TOKENS.c.hash == digest, unused)
        taking = taking.values(used_at=now).returning(REFRESH_TOKENS.c.session_id)
        return await session.scalar(taking)

    async def _renew(self, session: AsyncSession, session_id: UUID) -> Open | None:
        now = self.clock()
        active = select(USERS.c.id).where(
            USERS.c.id == SESSIONS.c.user_id, USERS.c.state == "active"
        )
        still = and_(SESSIONS.c.closed_at.is_(None), _unexpired(now), active.exists())
        renewing = update(SESSIONS).where(SESSIONS.c.id == session_id, still)
        renewing = renewing.values(refreshed_at=now)
        row = (await session.execute(renewing.returning(SESSIONS))).first()
        if row is None:
            return None
        shown = Evidence(tuple(row.amr), row.authenticated_at or row.created_at, row.factor)
        return await self._token(session, (session_id, row.user_id, shown), row.expires_at)

    async def _refuse(self, session: AsyncSession, digest: bytes, asking: Asking) -> Refusal | None:
        """What follows from a token that is not there to be used; None: nothing but a 401."""
        row = await self._find(session, digest)
        if row is None or row.used_at is None or row.closed_at is not None:
            return None
        is_double = self.clock() - row.used_at < GRACE
        reused = RefreshReused(
            user_id=row.user_id,
            session_id=row.session_id,
            address=asking.address,
            closed=not is_double,
        )
        await self._say(session, reused, row.user_id, asking)
        if is_double:
            said = "This refresh token was used just now: take the tokens of that answer."
            return Refusal(ErrorCode.CONFLICT, said)
        mine, actor = SESSIONS.c.id == row.session_id, user(row.user_id)
        await self.close(session, mine, "reuse", actor=actor, asking=asking)
        self.forget()
        return None

    async def _find(self, session: AsyncSession, digest: bytes) -> Row[Any] | None:
        query = (
            select(REFRESH_TOKENS, SESSIONS.c.user_id, SESSIONS.c.closed_at)
            .join(SESSIONS, SESSIONS.c.id == REFRESH_TOKENS.c.session_id)
            .where(REFRESH_TOKENS.c.hash == digest)
        )
        return (await session.execute(query)).first()

    async def _token(
        self, session: AsyncSession, whose: tuple[UUID, UUID, Evidence], ends: datetime
    ) -> Open:
        session_id, user_id, shown = whose
        token = PREFIX + secrets.token_urlsafe(32)
        expires = min(ends, self.clock() + self._idle)
        row = REFRESH_TOKENS.insert().values(
            hash=self._hash(token), session_id=session_id, expires_at=expires
        )
        await session.execute(row)
        return Open(session_id, user_id, token, expires, shown)

    async def _ask(self, session_id: UUID) -> Standing | None:
        query = (
            select(USERS.c.version, SESSIONS.c.expires_at, _has_factor().label("has_factor"))
            .join(USERS, USERS.c.id == SESSIONS.c.user_id)
            .where(
                SESSIONS.c.id == session_id,
                SESSIONS.c.closed_at.is_(None),
                USERS.c.state == "active",
            )
        )
        async with self.database.reading() as session:
            row = (await session.execute(query)).first()
        return Standing(row.version, row.expires_at, row.has_factor) if row else None

    def _hash(self, token: str) -> bytes:
        return hmac.digest(self._pepper, token[:MAX_LENGTH].encode(), "sha256")

    async def _say(
        self,
        session: AsyncSession,
        data: SessionOpened | SessionRaised | RefreshReused,
        who: UUID,
        asking: Asking,
    ) -> None:
        now, actor = self.clock(), user(who)
        await say(session, told(data, now, subject=who, actor=actor, request_id=asking.request_id))


def _unexpired(now: datetime) -> ColumnElement[bool]:
    return SESSIONS.c.expires_at > now


def _has_factor() -> ColumnElement[bool]:
    theirs = (FACTORS.c.user_id == USERS.c.id) & FACTORS.c.confirmed_at.is_not(None)
    return select(FACTORS.c.id).where(theirs).exists()


def _columns(shown: Evidence) -> dict[str, object]:
    return {"amr": list(shown.amr), "authenticated_at": shown.at, "factor": shown.factor}
