"""Logging in: tries are counted before they are compared, for all gateways together.

Whatever is wrong, the answer and the work are the same: one statement that counts the try where there
is an account that may be tried, one comparison, one transaction that tells the audit.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.leases import Clock
from chassis.outbox import say
from contracts.access.identity import FactorAsked, FactorFailed, LoginFailed, UserLocked
from services.gateway.identity.challenge import unauthenticated
from services.gateway.identity.emails import folded
from services.gateway.identity.factors import kinds
from services.gateway.identity.halfway import HalfLogins, Halfway, over
from services.gateway.identity.methods import Evidence, by_factor, by_password
from services.gateway.identity.oidc.entry import bind
from services.gateway.identity.passkeys import Answer, Judged
from services.gateway.identity.passwords import Passwords
from services.gateway.identity.post import Post
from services.gateway.identity.proofs import Proof
from services.gateway.identity.proving import Proving
from services.gateway.identity.saying import SOURCE, Aliases, Asking, told
from services.gateway.identity.sessions import Open, Sessions
from services.gateway.identity.tables import USERS
from services.gateway.identity.tries import Tries
from services.gateway.identity.users import UserState, find

REFUSED = "The e-mail address or the password is wrong, or the account cannot be used now."


class Login:
    """The ways to begin a session: with a password, and a second factor where there is one; by passkey."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        sessions: Sessions,
        aliases: Aliases,
        *,
        proving: Proving,
        halves: HalfLogins,
        post: Post,
        tries: Tries,
        clock: Clock,
    ) -> None:
        self.database = database
        self.clock = clock
        self._passwords = passwords
        self._sessions = sessions
        self._aliases = aliases
        self._proving = proving
        self._halves = halves
        self._post = post
        self._tries = tries

    async def enter(self, email: str, password: str, asking: Asking) -> Open | Halfway:
        """A new session, or half of one; a 401 that says nothing about why not."""
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

    async def finish(self, token: str, proof: Proof, asking: Asking) -> Open:
        """The session of a login that is half done, for a second factor."""
        begun = self._halves.read(token)

        async def enter(session: AsyncSession, row: Row[Any]) -> Open | None:
            if not await self._halves.finish(session, row, begun):
                return None
            shown = by_factor(proof.kind, self.clock(), begun.shown)
            opened = await self._open(session, row.id, asking, shown)
            if begun.entry is not None:
                await bind(session, opened, begun.entry, self._sessions, asking)
            return opened

        opened = await self._proving.prove(begun.user_id, proof, "login", asking, enter)
        if opened is None:
            raise over()
        return opened

    async def ask_for_passkey(self, token: str) -> dict[str, Any]:
        """What a browser is to be asked for, in the second half of a login."""
        begun = self._halves.read(token)
        async with self.database.session() as session:
            return await self._proving.ways.passkeys.ask(session, "login", begun.user_id)

    async def ask_for_any_passkey(self) -> dict[str, Any]:
        """The same, for a login that begins with a passkey."""
        async with self.database.session() as session:
            return await self._proving.ways.passkeys.ask(session, "passkey_login")

    async def enter_by_passkey(self, answer: Answer, asking: Asking) -> Open:
        """A new session for whom a passkey says; a 401 where it does not hold."""
        passkeys, opened = self._proving.ways.passkeys, None
        async with self.database.session() as session:
            judged = await passkeys.judge(session, answer, "passkey_login")
            if judged is None:
                await self._tell_refused(session, str(answer.get("id")), None, asking)
            else:
                opened = await self._let_in_by_passkey(session, judged, asking)
        if opened is None:
            raise unauthenticated("The passkey does not hold, or the account cannot be used now.")
        return opened

    async def _let_in_by_passkey(
        self, session: AsyncSession, judged: Judged, asking: Asking
    ) -> Open | None:
        row = await find(session, judged.user_id, lock=True)
        if row.state != UserState.ACTIVE.value:
            await self._tell_refused(session, row.email, row.id, asking)
            return None
        if not await self._proving.ways.passkeys.use(session, judged):
            copied = FactorFailed(
                user_id=row.id, kind="passkey", at="login", why="copied", address=asking.address
            )
            await self._say(session, copied, row.id, asking)
            await self._post.take(session, "factor_replayed", row.email)
            return None
        return await self._open(session, row.id, asking, by_factor("passkey", self.clock()))

    async def confirm(self, row: Row[Any], password: str, asking: Asking) -> None:
        """The same question to somebody who is logged in: a 401 if it is not their password."""
        counted = await self._count(row.email)
        right, _ = await self._passwords.check(password, counted.password if counted else None)
        async with self.database.session() as session:
            if counted is not None and right:
                forgiving = update(USERS).where(USERS.c.id == row.id)
                await session.execute(forgiving.values(self._tries.forgiven))
            else:
                await self._tell_failed(session, row.email, counted, asking)
        if not right:
            raise unauthenticated("The password is wrong, or cannot be tried now.")

    async def _count(self, email: str) -> Row[Any] | None:
        """Count a try; None if there is no account of that address that may be tried now."""
        async with self.database.session() as session:
            whose = USERS.c.folded_email == folded(email)
            return await self._tries.count(session, whose, self.clock())

    async def _let_in(
        self, session: AsyncSession, row: Row[Any], better: str | None, asking: Asking
    ) -> Open | Halfway | None:
        """What follows, unless the password or the state was changed while it was compared."""
        values = self._tries.forgiven | ({"password": better} if better else {})
        still = (USERS.c.password == row.password) & (USERS.c.state == UserState.ACTIVE.value)
        letting = update(USERS).where(USERS.c.id == row.id, still).values(values)
        now_is = (await session.execute(letting.returning(USERS))).first()
        if now_is is None:
            return None
        wanted = await kinds(session, row.id)
        if not wanted:
            return await self._open(session, row.id, asking, by_password(self.clock()))
        asked = FactorAsked(user_id=row.id, address=asking.address)
        await self._say(session, asked, row.id, asking)
        return await self._halves.begin(session, now_is, wanted)

    async def _open(
        self, session: AsyncSession, user_id: UUID, asking: Asking, shown: Evidence
    ) -> Open:
        came = update(USERS).where(USERS.c.id == user_id).values(logged_in_at=self.clock())
        await session.execute(came)
        return await self._sessions.open(session, user_id, asking, shown)

    async def _tell_failed(
        self, session: AsyncSession, email: str, row: Row[Any] | None, asking: Asking
    ) -> None:
        await self._tell_refused(session, email, row.id if row is not None else None, asking)
        if row is not None and row.locked_until is not None:
            locked = UserLocked(user_id=row.id, failures=row.failures, until=row.locked_until)
            await self._say(session, locked, row.id, asking)

    async def _tell_refused(
        self, session: AsyncSession, named: str, user_id: UUID | None, asking: Asking
    ) -> None:
        """By a keyed hash of what was named: an e-mail address, or the id of a passkey."""
        alias = self._aliases.of(named)
        failed = LoginFailed(alias=alias, user_id=user_id, address=asking.address)
        await self._say(session, failed, user_id or alias, asking)

    async def _say(
        self,
        session: AsyncSession,
        data: LoginFailed | UserLocked | FactorAsked | FactorFailed,
        subject: UUID | str,
        asking: Asking,
    ) -> None:
        now, request_id = self.clock(), asking.request_id
        await say(session, told(data, now, subject=subject, actor=SOURCE, request_id=request_id))
