"""Proving a second factor: what every way of doing so has in common.

A code is counted as a try before it is compared. Whether it is right, that it is used up, and what
follows from it are one transaction, in which the user's row is locked first.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from uuid import UUID

from sqlalchemy import Row, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.leases import Clock
from chassis.outbox import say
from chassis.problems import Refusal
from contracts.access.identity import FactorFailed, RecoveryCodeUsed
from services.gateway.identity.challenge import unauthenticated
from services.gateway.identity.passkeys import Passkeys
from services.gateway.identity.post import Post
from services.gateway.identity.proofs import Proof
from services.gateway.identity.recovery import RecoveryCodes, left
from services.gateway.identity.saying import Asking, told, user
from services.gateway.identity.tables import FACTORS, USERS
from services.gateway.identity.totp import Totp
from services.gateway.identity.tries import Tries
from services.gateway.identity.users import find

T = TypeVar("T")
At = Literal["login", "step_up"]
Why = Literal["wrong", "replayed", "copied", "locked"]
Then = Callable[[AsyncSession, Row[Any]], Awaitable[T | None]]


@dataclass(frozen=True)
class Ways:
    """What a second factor can be."""

    totp: Totp
    recovery: RecoveryCodes
    passkeys: Passkeys


class Proving:
    """Asks whether a proof is a user's."""

    def __init__(
        self, database: Database, ways: Ways, tries: Tries, post: Post, *, clock: Clock
    ) -> None:
        self.database = database
        self.clock = clock
        self.ways = ways
        self._tries = tries
        self._post = post

    async def prove(
        self, user_id: UUID, proof: Proof, at: At, asking: Asking, then: Then[T]
    ) -> T | None:
        """What `then` makes of a proof that holds, in the same transaction; a 401 where it does not."""
        may_try = await self._count(user_id, proof)
        async with self.database.session() as session:
            row = await find(session, user_id, lock=True)
            why = await self._judge(session, user_id, proof, at) if may_try else "locked"
            if why is not None:
                await self._tell_failed(session, row, (proof, at, why), asking)
            else:
                await self._take_note(session, row, proof, asking)
            done = await then(session, row) if why is None else None
        if why is not None:
            raise refused()
        return done

    async def _count(self, user_id: UUID, proof: Proof) -> bool:
        """Count a try at a code; a passkey's signature cannot be guessed, and never locks anybody out."""
        if proof.kind == "passkey":
            return True
        async with self.database.session() as session:
            whose = USERS.c.id == user_id
            return await self._tries.count(session, whose, self.clock()) is not None

    async def _judge(
        self, session: AsyncSession, user_id: UUID, proof: Proof, at: At
    ) -> Why | None:
        """Use the proof up; why that cannot be, None if it is done."""
        if proof.passkey is not None:
            judged = await self.ways.passkeys.judge(session, proof.passkey, at, user_id)
            if judged is None:
                return "wrong"
            return None if await self.ways.passkeys.use(session, judged) else "copied"
        if proof.recovery_code is not None:
            code = proof.recovery_code
            return None if await self.ways.recovery.take(session, user_id, code) else "wrong"
        theirs = (FACTORS.c.user_id == user_id) & FACTORS.c.confirmed_at.is_not(None)
        taken = await self.ways.totp.take(session, proof.code or "", theirs)
        return None if taken else "wrong" if taken is None else "replayed"

    async def _take_note(
        self, session: AsyncSession, row: Row[Any], proof: Proof, asking: Asking
    ) -> None:
        forgiving = update(USERS).where(USERS.c.id == row.id)
        if proof.kind != "passkey":
            await session.execute(forgiving.values(self._tries.forgiven))
        if proof.kind == "recovery_code":
            used = RecoveryCodeUsed(user_id=row.id, left=await left(session, row.id))
            await self._say(session, used, row.id, asking)
            await self._post.take(session, "recovery_code_used", row.email, user_id=row.id)

    async def _tell_failed(
        self, session: AsyncSession, row: Row[Any], how: tuple[Proof, At, Why], asking: Asking
    ) -> None:
        proof, at, why = how
        failed = FactorFailed(
            user_id=row.id,
            kind=proof.kind,
            at=at,
            why=why,
            locked_until=row.factor_locked_until if proof.kind != "passkey" else None,
            address=asking.address,
        )
        await self._say(session, failed, row.id, asking)
        if why in {"replayed", "copied"}:
            await self._post.take(session, "factor_replayed", row.email)

    async def _say(
        self,
        session: AsyncSession,
        data: FactorFailed | RecoveryCodeUsed,
        user_id: UUID,
        asking: Asking,
    ) -> None:
        actor, request_id = user(user_id), asking.request_id
        await say(
            session, told(data, self.clock(), subject=user_id, actor=actor, request_id=request_id)
        )


def refused() -> Refusal:
    """A 401 that does not say why."""
    return unauthenticated("The second factor does not hold, or cannot be tried now.")
