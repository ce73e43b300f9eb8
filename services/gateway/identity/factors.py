"""The second factors of a user: enrolled once they have shown that they hold them, removed, reset."""

from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Row, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, insert
from chassis.errors import Terminal
from chassis.ids import new_id
from chassis.leases import Clock
from chassis.outbox import say
from chassis.problems import invalid
from contracts.access.identity import (
    FactorEnrolled,
    FactorRemoved,
    FactorsReset,
    RecoveryCodesMade,
)
from contracts.errors import ErrorCode
from services.gateway.identity.lowering import lower
from services.gateway.identity.methods import FactorKind, ProofKind, by_factor
from services.gateway.identity.passkeys import Answer
from services.gateway.identity.post import Post
from services.gateway.identity.proving import Ways
from services.gateway.identity.recovery import drop, left
from services.gateway.identity.saying import Asking, told, user
from services.gateway.identity.sessions import Sessions
from services.gateway.identity.tables import FACTORS, SESSIONS
from services.gateway.identity.tokens import Bearer
from services.gateway.identity.totp import uri_of
from services.gateway.identity.users import change, find

MOST = 10
_TAKEN = "There is a factor of this name, or this key is enrolled already."


@dataclass(frozen=True)
class NewTotp:
    """A factor to come, at the only moment at which its secret is known outside an app."""

    id: UUID
    secret: str
    uri: str


@dataclass(frozen=True)
class Enrolled:
    """A factor, and with the first one the user's recovery codes, which are never shown again."""

    row: Row[Any]
    recovery_codes: list[str] | None


class Factors:
    """Enrols and removes them."""

    def __init__(
        self, database: Database, ways: Ways, sessions: Sessions, post: Post, *, clock: Clock
    ) -> None:
        self.database = database
        self.clock = clock
        self._ways = ways
        self._sessions = sessions
        self._post = post

    async def begin_totp(self, user_id: UUID, name: str) -> NewTotp:
        """A secret for an app; it counts once a code of it came. The one begun before is given up."""
        secret, sealed = self._ways.totp.make()
        async with self.database.session() as session:
            row = await find(session, user_id, lock=True)
            unconfirmed = _of(user_id) & FACTORS.c.confirmed_at.is_(None)
            await session.execute(delete(FACTORS).where(unconfirmed))
            added = await self._add(session, user_id, "totp", name, {"sealed": sealed})
        return NewTotp(added.id, secret, uri_of(secret, row.email))

    async def confirm_totp(
        self, bearer: Bearer, factor_id: UUID, code: str, asking: Asking
    ) -> Enrolled:
        """Have it count; a 400 for a wrong code, a 404 where none waits to be confirmed."""
        async with self.database.session() as session:
            row = await find(session, bearer.user_id, lock=True)
            this = (FACTORS.c.id == factor_id) & _of(row.id) & FACTORS.c.confirmed_at.is_(None)
            if await session.scalar(select(FACTORS.c.id).where(this)) is None:
                raise Terminal(ErrorCode.NOT_FOUND)
            if not await self._ways.totp.take(session, code, this):
                said = "Is not what the app shows now: check its clock, and try the next one."
                raise invalid("body.code", said)
            confirming = update(FACTORS).where(this).values(confirmed_at=self.clock())
            factor = (await session.execute(confirming.returning(FACTORS))).one()
            enrolled = await self._welcome(session, row, factor, (bearer, asking))
        self._sessions.forget()
        return enrolled

    async def ask_for_passkey(self, user_id: UUID) -> dict[str, Any]:
        """What a browser is to be asked for."""
        async with self.database.session() as session:
            row = await find(session, user_id)
            return await self._ways.passkeys.ask_for_new(session, row)

    async def add_passkey(
        self, bearer: Bearer, name: str, answer: Answer, asking: Asking
    ) -> Enrolled:
        """Enrol what a browser has made; a 400 where it does not answer what it was asked."""
        async with self.database.session() as session:
            made = await self._ways.passkeys.judge_new(session, bearer.user_id, answer)
        if made is None:
            raise invalid("body.passkey", "Is no answer to a question that was asked from here.")
        columns = {
            "credential_id": made.credential_id,
            "public_key": made.credential_public_key,
            "sign_count": made.sign_count,
            "confirmed_at": self.clock(),
        }
        async with self.database.session() as session:
            row = await find(session, bearer.user_id, lock=True)
            factor = await self._add(session, row.id, "passkey", name, columns)
            enrolled = await self._welcome(session, row, factor, (bearer, asking))
        self._sessions.forget()
        return enrolled

    async def remove(self, bearer: Bearer, factor_id: UUID, asking: Asking) -> None:
        """Remove one; Terminal(NOT_FOUND). With the last one the recovery codes go, too.

        Sessions that were raised by it are so no longer: access tokens have to be refreshed.
        """
        user_id = bearer.user_id
        async with self.database.session() as session:
            row = await find(session, user_id, lock=True)
            this = (FACTORS.c.id == factor_id) & _of(user_id)
            gone = (await session.execute(delete(FACTORS).where(this).returning(FACTORS))).first()
            if gone is None:
                raise Terminal(ErrorCode.NOT_FOUND)
            if gone.confirmed_at is not None:
                count = await _count(session, user_id)
                if not count:
                    await drop(session, user_id)
                await self._lower(session, bearer, gone.kind, count, asking)
                said = FactorRemoved(user_id=row.id, factor_id=gone.id, kind=gone.kind, left=count)
                await self._say(session, said, user(row.id), asking)
                await self._post.take(session, "factor_removed", row.email)
        self._sessions.forget()

    async def remake_codes(self, user_id: UUID, asking: Asking) -> list[str]:
        """New recovery codes, instead of those of before; a 409 without a factor to recover."""
        async with self.database.session() as session:
            row = await find(session, user_id, lock=True)
            if not await _count(session, user_id):
                raise Terminal(ErrorCode.CONFLICT, "Enrol a second factor first.")
            await self._post.take(session, "recovery_codes_made", row.email)
            return await self._make_codes(session, user_id, asking)

    async def reset(self, user_id: UUID, actor: str, asking: Asking) -> None:
        """Take all factors from a user who has lost them, and end their sessions."""
        async with self.database.session() as session:
            row = await find(session, user_id, lock=True)
            confirmed = await _count(session, user_id)
            await session.execute(delete(FACTORS).where(_of(user_id)))
            await drop(session, user_id)
            values: dict[str, object] = {"factor_failures": 0, "factor_locked_until": None}
            await change(session, user_id, self.clock(), retoken=True, **values)
            theirs = SESSIONS.c.user_id == user_id
            await self._sessions.close(session, theirs, "state", actor=actor, asking=asking)
            said = FactorsReset(user_id=user_id, removed=confirmed)
            await self._say(session, said, actor, asking)
            await self._post.take(session, "factors_reset", row.email)
        self._sessions.forget()

    async def _add(
        self,
        session: AsyncSession,
        user_id: UUID,
        kind: FactorKind,
        name: str,
        columns: dict[str, Any],
    ) -> Row[Any]:
        """A row; a 409 where the name is taken, the key is somebody's, or there are too many."""
        if await _count(session, user_id) >= MOST:
            raise Terminal(ErrorCode.CONFLICT, f"A user has {MOST} factors at most.")
        values = {"id": new_id(), "user_id": user_id, "kind": kind, "name": name}
        row = insert(session, FACTORS).values(created_at=self.clock(), **values, **columns)
        added = await session.execute(row.on_conflict_do_nothing().returning(FACTORS))
        found = added.first()
        if found is None:
            raise Terminal(ErrorCode.CONFLICT, _TAKEN)
        return found

    async def _welcome(
        self, session: AsyncSession, row: Row[Any], factor: Row[Any], by: tuple[Bearer, Asking]
    ) -> Enrolled:
        """What follows from a new factor; it was shown just now, so the session counts as raised by it."""
        bearer, asking = by
        said = FactorEnrolled(user_id=row.id, factor_id=factor.id, kind=factor.kind)
        await self._say(session, said, user(row.id), asking)
        await self._post.take(session, "factor_added", row.email)
        shown = by_factor(factor.kind, self.clock(), bearer.amr)
        await self._sessions.lift(session, bearer.session_id, shown, asking)
        is_first = await _count(session, row.id) == 1
        codes = await self._make_codes(session, row.id, asking) if is_first else None
        return Enrolled(factor, codes)

    async def _lower(
        self, session: AsyncSession, bearer: Bearer, gone: FactorKind, count: int, asking: Asking
    ) -> None:
        kinds: set[ProofKind] = {gone} if count else {gone, "recovery_code"}
        if await lower(session, self._sessions, bearer, kinds, asking):
            await change(session, bearer.user_id, self.clock(), retoken=True)

    async def _make_codes(self, session: AsyncSession, user_id: UUID, asking: Asking) -> list[str]:
        codes = await self._ways.recovery.make(session, user_id)
        said = RecoveryCodesMade(user_id=user_id, count=len(codes))
        await self._say(session, said, user(user_id), asking)
        return codes

    async def _say(
        self,
        session: AsyncSession,
        data: FactorEnrolled | FactorRemoved | FactorsReset | RecoveryCodesMade,
        actor: str,
        asking: Asking,
    ) -> None:
        now, request_id = self.clock(), asking.request_id
        message = told(data, now, subject=data.user_id, actor=actor, request_id=request_id)
        await say(session, message)


async def held(session: AsyncSession, user_id: UUID) -> list[Row[Any]]:
    """A user's factors, the oldest first; those that wait to be confirmed are none yet."""
    query = select(FACTORS).where(_of(user_id), FACTORS.c.confirmed_at.is_not(None))
    return list((await session.execute(query.order_by(FACTORS.c.created_at, FACTORS.c.id))).all())


async def kinds(session: AsyncSession, user_id: UUID) -> tuple[ProofKind, ...]:
    """What a user may come with as a second factor; empty: they have none."""
    found = cast("list[ProofKind]", [row.kind for row in await held(session, user_id)])
    if found and await left(session, user_id):
        found.append("recovery_code")
    return tuple(dict.fromkeys(found))


async def _count(session: AsyncSession, user_id: UUID) -> int:
    confirmed = _of(user_id) & FACTORS.c.confirmed_at.is_not(None)
    return await session.scalar(select(func.count()).select_from(FACTORS).where(confirmed)) or 0


def _of(user_id: UUID) -> ColumnElement[bool]:
    return FACTORS.c.user_id == user_id
