"""The post: mails are rows, written with the state that they tell of, and sent by whoever comes first.

A row says for whom a mail is and why; its link is made when it is sent, so that no row holds one, and
so that asking for a link does the same work whether there is such an account or not.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, insert
from chassis.ids import new_id
from chassis.leases import Clock
from chassis.outbox import say
from contracts.access.identity import UserRegistered
from services.gateway.identity.emails import folded
from services.gateway.identity.letters import Letters
from services.gateway.identity.links import Links
from services.gateway.identity.mail import Letter, Mailer, UndeliverableError
from services.gateway.identity.recovery import left
from services.gateway.identity.saying import told, user
from services.gateway.identity.tables import MAIL, USERS
from services.gateway.identity.users import NewUser, UserState, add, by_email

LOG = logging.getLogger(__name__)
Kind = Literal[
    "invitation",
    "registration",
    "forgotten",
    "email",
    "password_set",
    "address_left",
    "factor_added",
    "factor_removed",
    "factors_reset",
    "factor_replayed",
    "identity_linked",
    "recovery_code_used",
    "recovery_codes_made",
]
IDLE_SECONDS = 5.0
HELD = timedelta(seconds=60)
"""How long a row is one gateway's to send; killed meanwhile, it leaves it to the next one."""
GIVEN_UP_AFTER = timedelta(hours=24)
_PAUSE = timedelta(seconds=10)
_LONGEST = timedelta(minutes=15)
_APART = timedelta(minutes=1)
"""Links that people ask for by an address come no more often to it."""


@dataclass(frozen=True)
class Lifetimes:
    """How long links work."""

    invitation: timedelta
    other: timedelta


class Post:
    """Takes mails in, and sends them. `clock`: the one that replicas share."""

    def __init__(
        self,
        database: Database,
        mailer: Mailer,
        links: Links,
        letters: Letters,
        *,
        lifetimes: Lifetimes,
        clock: Clock,
        federated_passwords: bool = False,
    ) -> None:
        self.database = database
        self.mailer = mailer
        self.clock = clock
        self._links = links
        self.letters = letters
        self._lifetimes = lifetimes
        self._federated_passwords = federated_passwords
        self._came = asyncio.Event()

    async def take(
        self,
        session: AsyncSession,
        kind: Kind,
        email: str,
        *,
        user_id: UUID | None = None,
        name: str | None = None,
    ) -> None:
        """Leave a mail to be sent. One of the kind that waits for the address already is enough."""
        now = self.clock()
        row = insert(session, MAIL).values(
            id=new_id(),
            kind=kind,
            email=email,
            folded_email=folded(email),
            user_id=user_id,
            name=name,
            attempts=0,
            due_at=now,
            created_at=now,
        )
        await session.execute(row.on_conflict_do_nothing())
        self._came.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            self._came.clear()
            while await self.send_next():
                pass
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._came.wait()

    async def send_next(self) -> bool:
        """Send the mail that is due first; False if none is."""
        async with self.database.session() as session:
            row = await self._claim(session)
        if row is None:
            return False
        if await self._sent(row):
            async with self.database.session() as session:
                await session.execute(delete(MAIL).where(MAIL.c.id == row.id))
        return True

    async def _claim(self, session: AsyncSession) -> Row[Any] | None:
        now = self.clock()
        due = select(MAIL.c.id).where(MAIL.c.due_at <= now).order_by(MAIL.c.due_at).limit(1)
        due = due.with_for_update(skip_locked=True)
        claiming = update(MAIL).where(MAIL.c.id == due.scalar_subquery())
        claiming = claiming.values(due_at=now + HELD, attempts=MAIL.c.attempts + 1)
        return (await session.execute(claiming.returning(MAIL))).first()

    async def _sent(self, row: Row[Any]) -> bool:
        """Whether nothing is left to do about it; else it is due again after a pause that grows."""
        try:
            async with self.database.session() as session:
                letter = await self._letter(session, row)
            if letter is not None:
                await self.mailer.send(letter)
        except UndeliverableError as error:
            LOG.warning("mail %s (%s) is not taken: %s", row.id, row.kind, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the mail is still to be sent
            now = self.clock()
            if now - row.created_at >= GIVEN_UP_AFTER:
                LOG.error("mail %s (%s) is given up: %s", row.id, row.kind, type(error).__name__)  # noqa: TRY400
                return True
            LOG.warning("mail %s (%s) waits: %s", row.id, row.kind, type(error).__name__)
            await self._put_off(row.id, now + min(_PAUSE * 2 ** min(row.attempts, 10), _LONGEST))
            return False
        return True

    async def _put_off(self, mail_id: UUID, until: datetime) -> None:
        async with self.database.session() as session:
            await session.execute(update(MAIL).where(MAIL.c.id == mail_id).values(due_at=until))

    async def _letter(self, session: AsyncSession, row: Row[Any]) -> Letter | None:
        """The mail, with its link; None where there is nobody to get it, or no reason any more."""
        match row.kind:
            case "registration":
                return await self._welcome(session, row)
            case "email":
                return await self._confirmation(session, row)
            case "recovery_code_used":
                count = await left(session, row.user_id)
                return self.letters.recovery_code_used(row.email, count)
            case "invitation" | "forgotten":
                found = await by_email(session, row.email)
                return await self._entrance(session, found, row) if found is not None else None
            case _:
                return self._notice(row)

    def _notice(self, row: Row[Any]) -> Letter:
        """A mail that only tells what was done."""
        letters = self.letters
        notices: dict[str, Callable[[str], Letter]] = {
            "password_set": letters.password_set,
            "address_left": letters.address_left,
            "factor_added": letters.factor_added,
            "factor_removed": letters.factor_removed,
            "factors_reset": letters.factors_reset,
            "factor_replayed": letters.factor_replayed,
            "identity_linked": letters.identity_linked,
            "recovery_codes_made": letters.recovery_codes_made,
        }
        return notices[row.kind](row.email)

    async def _entrance(
        self, session: AsyncSession, found: Row[Any], row: Row[Any]
    ) -> Letter | None:
        """A link to a password: the first one, or another one."""
        if row.kind != "invitation" and not await self._is_time(session, found.id, row):
            return None
        if found.state == UserState.INVITED.value:
            lifetime, write = self._lifetimes.invitation, self.letters.invitation
        elif found.password is None and not self._federated_passwords:
            return None  # they come by a provider, and by nothing else
        elif found.state == UserState.ACTIVE.value and row.kind == "forgotten":
            lifetime, write = self._lifetimes.other, self.letters.reset
        else:
            return None
        token = await self._links.make(session, found.id, "password", found.email, lifetime)
        return write(found.email, token, lifetime)

    async def _is_time(self, session: AsyncSession, user_id: UUID, row: Row[Any]) -> bool:
        """Whether the last link is long enough ago; a mail that failed before made one itself."""
        newest = await self._links.newest(session, user_id, "password")
        return row.attempts > 1 or newest is None or self.clock() - newest >= _APART

    async def _welcome(self, session: AsyncSession, row: Row[Any]) -> Letter | None:
        """Make the account of somebody who registered, if they have none."""
        now = self.clock()
        new = NewUser(row.email, row.name or "", "registration")
        user_id = await add(session, new, now)
        if user_id is not None:
            registered = UserRegistered(user_id=user_id)
            await say(session, told(registered, now, subject=user_id, actor=user(user_id)))
        found = await by_email(session, row.email)
        if found is None or found.state != UserState.INVITED.value:
            is_known = found is not None and found.state == UserState.ACTIVE.value
            return self.letters.known(row.email) if is_known else None
        return await self._entrance(session, found, row)

    async def _confirmation(self, session: AsyncSession, row: Row[Any]) -> Letter | None:
        """A link to the new address of a user who changes theirs, unless it is somebody's."""
        active = USERS.c.state == UserState.ACTIVE.value
        found = await session.scalar(select(USERS.c.id).where(USERS.c.id == row.user_id, active))
        if found is None or await by_email(session, row.email) is not None:
            return None
        lifetime = self._lifetimes.other
        token = await self._links.make(session, found, "email", row.email, lifetime)
        return self.letters.address(row.email, token, lifetime)
