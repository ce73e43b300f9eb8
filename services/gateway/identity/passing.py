"""Changes that a user makes of their own account: by a link, or with the password that they have."""

from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.errors import Terminal
from chassis.leases import Clock
from chassis.outbox import say
from contracts.access.identity import PasswordSet, UserActivated, UserChanged
from contracts.errors import ErrorCode
from services.gateway.identity.emails import folded
from services.gateway.identity.links import Links
from services.gateway.identity.login import Login
from services.gateway.identity.passwords import Passwords
from services.gateway.identity.post import Post
from services.gateway.identity.saying import Aliases, Asking, told, user
from services.gateway.identity.sessions import Sessions
from services.gateway.identity.tables import SESSIONS
from services.gateway.identity.users import UserState, by_email, change, find


class Passing:
    """From one password, or e-mail address, to the next."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        sessions: Sessions,
        links: Links,
        post: Post,
        *,
        login: Login,
        aliases: Aliases,
        clock: Clock,
        federated_passwords: bool = False,
    ) -> None:
        self.database = database
        self.clock = clock
        self._passwords = passwords
        self._sessions = sessions
        self._links = links
        self._post = post
        self._login = login
        self._aliases = aliases
        self._federated_passwords = federated_passwords

    async def set_by_link(self, token: str, password: str, asking: Asking) -> None:
        """Set the password by a link of an invitation or of a reset; a 400 if it does not hold."""
        async with self.database.reading() as session:
            looked = await self._links.look(session, token, "password")
            row = await find(session, looked.user_id)
        await self._passwords.require_good(password, row.email, row.name)
        hashed = await self._passwords.hash(password)
        async with self.database.session() as session:
            followed = await self._links.follow(session, token, "password")
            row = await find(session, followed.user_id, lock=True)
            _require_usable(row)
            self._require_may_have_password(row)
            await self._set(session, row, hashed, "link", asking)
            await self._links.drop(session, row.id, "password")
        self._sessions.forget()

    async def set_by_password(
        self, row: Row[Any], current: str, password: str, asking: Asking
    ) -> None:
        """Set it by the one that it is until now; a 401 if that is wrong. All sessions end."""
        await self._login.confirm(row, current, asking)
        await self._passwords.require_good(password, row.email, row.name)
        hashed = await self._passwords.hash(password)
        async with self.database.session() as session:
            again = await find(session, row.id, lock=True)
            if again.password != row.password:
                raise Terminal(ErrorCode.CONFLICT, "The password was changed meanwhile.")
            await self._set(session, again, hashed, "change", asking)
            await self._links.drop(session, row.id, "password")
        self._sessions.forget()

    async def set_address(self, token: str, asking: Asking) -> None:
        """Set the e-mail address by a link that was sent to it; a 409 if it has an account by now."""
        try:
            async with self.database.session() as session:
                await self._move(session, token, asking)
        except IntegrityError as error:  # somebody took it in this moment
            raise _taken() from error

    def _require_may_have_password(self, row: Row[Any]) -> None:
        """A 409 for who came by a provider since the link was sent, and has no password."""
        is_federated = row.state == UserState.ACTIVE.value and row.password is None
        if is_federated and not self._federated_passwords:
            raise Terminal(ErrorCode.CONFLICT, "This account is used by its provider alone.")

    async def _move(self, session: AsyncSession, token: str, asking: Asking) -> None:
        followed = await self._links.follow(session, token, "email")
        row = await find(session, followed.user_id, lock=True)
        _require_usable(row)
        if await by_email(session, followed.email) is not None:
            raise _taken()
        email = {"email": followed.email, "folded_email": folded(followed.email)}
        await change(session, row.id, self.clock(), retoken=False, **email)
        await self._links.drop(session, row.id, "email")
        await self._links.drop(session, row.id, "password")
        await self._post.take(session, "address_left", row.email)
        old, new = self._aliases.of(row.email), self._aliases.of(followed.email)
        changed = UserChanged(user_id=row.id, old={"alias": old}, new={"alias": new})
        await self._say(session, changed, row.id, asking)

    async def _set(
        self,
        session: AsyncSession,
        row: Row[Any],
        hashed: str,
        by: Literal["link", "change"],
        asking: Asking,
    ) -> None:
        now, invited = self.clock(), row.state == UserState.INVITED.value
        values: dict[str, object] = {"password": hashed, "failures": 0, "locked_until": None}
        values |= {"state": UserState.ACTIVE.value} if invited else {}
        await change(session, row.id, now, retoken=True, **values)
        await self._sessions.close(
            session, SESSIONS.c.user_id == row.id, "password", actor=user(row.id), asking=asking
        )
        if invited:
            await self._say(session, UserActivated(user_id=row.id), row.id, asking)
            return
        said = PasswordSet(user_id=row.id, by=by)
        await self._say(session, said, row.id, asking)
        await self._post.take(session, "password_set", row.email)

    async def _say(
        self,
        session: AsyncSession,
        data: PasswordSet | UserActivated | UserChanged,
        user_id: UUID,
        asking: Asking,
    ) -> None:
        message = told(
            data, self.clock(), subject=user_id, actor=user(user_id), request_id=asking.request_id
        )
        await say(session, message)


def _taken() -> Terminal:
    return Terminal(ErrorCode.CONFLICT, "That e-mail address has an account.")


def _require_usable(row: Row[Any]) -> None:
    if row.state not in {UserState.INVITED.value, UserState.ACTIVE.value}:
        raise Terminal(ErrorCode.CONFLICT, "An admin has locked this account.")
