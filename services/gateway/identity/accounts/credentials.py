"""Secrets of service accounts, and how they are tried: wrong ones are counted, and lock for a while.

A secret is 256 random bits, so nobody guesses it; counting is for the audit, and for those who try.
The comparison takes no time, so tries are counted after it: many workers that begin at once with the
right one lock nothing.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, case, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.leases import Clock
from chassis.outbox import say
from contracts.access.federation import ClientAdmitted, ClientRefused, ServiceAccountLocked
from services.gateway.identity import marked
from services.gateway.identity.accounts.rows import change
from services.gateway.identity.accounts.tables import SERVICE_ACCOUNTS
from services.gateway.identity.accounts.tokens import SUBJECT
from services.gateway.identity.saying import SOURCE, Aliases, Asking, told
from services.gateway.identity.tries import FIRST_LOCK, LONGEST_LOCK

_LONGEST = 256


@dataclass(frozen=True)
class NewSecret:
    """A secret at the only moment at which it is known."""

    secret: str
    prefix: str


class Credentials:
    """Makes, takes away and compares secrets."""

    def __init__(
        self, database: Database, pepper: bytes, aliases: Aliases, clock: Clock, lock_after: int
    ) -> None:
        self.database = database
        self.clock = clock
        self._pepper = pepper
        self._aliases = aliases
        self._lock_after = lock_after

    async def make(self, session: AsyncSession, account: Row[Any], overlap: timedelta) -> NewSecret:
        """Another secret; the one before works for `overlap`."""
        secret, now = marked.make("hs"), self.clock()
        made = NewSecret(secret, secret[: marked.SHOWN])
        stays = account.hash is not None and overlap > timedelta(0)
        await change(
            session,
            account.id,
            now,
            retoken=not stays,
            prefix=made.prefix,
            hash=self._hash(secret),
            former_hash=account.hash if stays else None,
            former_until=now + overlap if stays else None,
            failures=0,
            locked_until=None,
        )
        return made

    async def drop(self, session: AsyncSession, account_id: UUID) -> None:
        """Have no secret work any more, nor what was given for one."""
        nothing = dict.fromkeys(("prefix", "hash", "former_hash", "former_until"))
        await change(session, account_id, self.clock(), retoken=True, **nothing)

    async def admit(self, client_id: str, secret: str, asking: Asking) -> Row[Any] | None:
        """The account that both belong to; None, whatever is wrong. The audit is told."""
        now = self.clock()
        async with self.database.session() as session:
            account = await self._find(session, client_id)
            may_be_tried = account is not None and (
                account.locked_until is None or account.locked_until <= now
            )
            if account is None or not may_be_tried:
                await self._tell_refused(session, client_id, None, asking)
                return None
            if not self._is_right(account, secret):
                await self._count(session, account, asking)
                await self._tell_refused(session, client_id, account, asking)
                return None
            values = {"failures": 0, "locked_until": None, "last_used_at": now}
            this = SERVICE_ACCOUNTS.c.id == account.id
            await session.execute(update(SERVICE_ACCOUNTS).where(this).values(values))
            await self._tell_admitted(session, account, asking)
            return account

    def _is_right(self, account: Row[Any], secret: str) -> bool:
        given, now = self._hash(secret[:_LONGEST]), self.clock()
        former = account.former_until is not None and now < account.former_until
        known = [account.hash, account.former_hash if former else None]
        return any(each is not None and hmac.compare_digest(each, given) for each in known)

    async def _find(self, session: AsyncSession, client_id: str) -> Row[Any] | None:
        """An account that is on and has a secret."""
        try:
            account_id = UUID(client_id)
        except ValueError:
            return None
        this = (SERVICE_ACCOUNTS.c.id == account_id) & SERVICE_ACCOUNTS.c.enabled
        query = select(SERVICE_ACCOUNTS).where(this, SERVICE_ACCOUNTS.c.hash.is_not(None))
        return (await session.execute(query)).first()

    async def _count(self, session: AsyncSession, account: Row[Any], asking: Asking) -> None:
        now, before = self.clock(), SERVICE_ACCOUNTS.c.failures
        steps = [(self._lock_after + n - 1, now + FIRST_LOCK * 2**n) for n in range(5)]
        cases = [(before == count, until) for count, until in steps]
        many = before >= self._lock_after + 4
        counting = update(SERVICE_ACCOUNTS).where(SERVICE_ACCOUNTS.c.id == account.id)
        counting = counting.values(
            failures=before + 1, locked_until=case(*cases, (many, now + LONGEST_LOCK), else_=None)
        )
        row = (await session.execute(counting.returning(SERVICE_ACCOUNTS))).first()
        if row is not None and row.locked_until is not None:
            locked = ServiceAccountLocked(
                name=row.name, failures=row.failures, until=row.locked_until
            )
            message = told(
                locked,
                now,
                subject=row.id,
                actor=SOURCE,
                request_id=asking.request_id,
                project=row.project_id,
            )
            await say(session, message)

    async def _tell_refused(
        self, session: AsyncSession, client_id: str, account: Row[Any] | None, asking: Asking
    ) -> None:
        alias = self._aliases.of(client_id[:_LONGEST])
        known = account.id if account is not None else None
        refused = ClientRefused(alias=alias, account_id=known, address=asking.address)
        message = told(
            refused,
            self.clock(),
            subject=known or alias,
            actor=SOURCE,
            request_id=asking.request_id,
            project=account.project_id if account is not None else "",
        )
        await say(session, message)

    async def _tell_admitted(
        self, session: AsyncSession, account: Row[Any], asking: Asking
    ) -> None:
        now: datetime = self.clock()
        message = told(
            ClientAdmitted(name=account.name, address=asking.address),
            now,
            subject=account.id,
            actor=f"{SUBJECT}{account.name}",
            request_id=asking.request_id,
            project=account.project_id,
        )
        await say(session, message)

    def _hash(self, secret: str) -> bytes:
        return hmac.digest(self._pepper, secret.encode(), "sha256")
