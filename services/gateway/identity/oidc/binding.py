"""Which user an identity at a provider is: the one that it is bound to, and never one by e-mail alone."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.outbox import say
from contracts.access.federation import IdentityLinked
from contracts.access.identity import UserActivated
from services.gateway.identity.emails import Email
from services.gateway.identity.links import Links
from services.gateway.identity.oidc.claims import Claims
from services.gateway.identity.oidc.entry import LONGEST, Entry
from services.gateway.identity.oidc.provider import Provider
from services.gateway.identity.oidc.tables import IDENTITIES
from services.gateway.identity.post import Post
from services.gateway.identity.saying import Asking, told
from services.gateway.identity.users import NewUser, UserState, add, by_email, change, find
from services.gateway.locks import exclusively

Why = Literal["email", "taken", "closed", "state"]
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)
_LONGEST_NAME = 100
_SENTENCES: dict[Why, str] = {
    "email": "The provider does not say that this e-mail address is yours.",
    "taken": "The e-mail address has an account that is not bound to this identity: ask an admin.",
    "closed": "There is no account for this identity, and none is made: ask an admin.",
    "state": "The account cannot be used now: ask an admin.",
}


class NotLetInError(Exception):
    """Who it is is known, and they are not let in."""

    def __init__(self, why: Why, user_id: UUID | None = None) -> None:
        self.why: Why = why
        self.user_id = user_id
        super().__init__(_SENTENCES[why])


@dataclass(frozen=True)
class Arrived:
    """Somebody for whom a provider vouches."""

    provider: Provider
    claims: Claims
    asking: Asking

    @property
    def subject(self) -> str:
        """Who they are at the provider."""
        return str(self.claims["sub"])

    @property
    def entry(self) -> Entry:
        """By which login they come; a session id that is too long to log out by is none."""
        said = self.claims.get("sid")
        sid = said if isinstance(said, str) and 0 < len(said) <= LONGEST else None
        issuer = self.provider.settings.issuer
        return Entry(provider=self.provider.name, issuer=issuer, subject=self.subject, sid=sid)

    @property
    def email(self) -> str:
        """The address that the provider says is theirs; NotLetInError if it does not."""
        is_theirs = self.claims.get("email_verified") is True or self.provider.settings.trust_email
        try:
            if is_theirs:
                return _EMAIL.validate_python(self.claims.get("email"), strict=True)
        except ValidationError as error:
            raise NotLetInError("email") from error
        raise NotLetInError("email")

    @property
    def name(self) -> str:
        """As they are called."""
        said = self.claims.get("name")
        text = "".join(c for c in said if c.isprintable()) if isinstance(said, str) else ""
        return text.strip()[:_LONGEST_NAME]


class Binding:
    """Finds, links and makes users."""

    def __init__(self, links: Links, post: Post) -> None:
        self._links = links
        self._post = post

    async def user_of(self, session: AsyncSession, arrived: Arrived) -> Row[Any]:
        """The active user of an identity, locked; NotLetInError."""
        now, issuer = self._links.clock(), arrived.provider.settings.issuer
        await exclusively(session, f"identity.{issuer} {arrived.subject}")
        user_id = await _bound(session, arrived)
        if user_id is None:
            user_id, by = await self._meet(session, arrived)
            row = IDENTITIES.insert().values(
                issuer=issuer,
                subject=arrived.subject,
                user_id=user_id,
                linked_at=now,
                used_at=now,
            )
            await session.execute(row)
            linked = IdentityLinked(user_id=user_id, provider=arrived.provider.name, by=by)
            await self._say(session, linked, arrived)
        found = await find(session, user_id, lock=True)
        if found.state != UserState.ACTIVE.value:
            raise NotLetInError("state", user_id)
        return found

    async def _meet(
        self, session: AsyncSession, arrived: Arrived
    ) -> tuple[UUID, Literal["creation", "email"]]:
        """Somebody who comes for the first time."""
        known = await by_email(session, arrived.email)
        if known is not None:
            return await self._link(session, arrived, known), "email"
        if not arrived.provider.settings.create_users:
            raise NotLetInError("closed")
        now, by = self._links.clock(), f"oidc:{arrived.provider.name}"
        user_id = await add(session, NewUser(arrived.email, arrived.name, by), now)
        if user_id is None:  # somebody took the address in this moment
            raise NotLetInError("taken")
        await change(session, user_id, now, retoken=False, state=UserState.ACTIVE.value)
        return user_id, "creation"

    async def _link(self, session: AsyncSession, arrived: Arrived, known: Row[Any]) -> UUID:
        """The user of the address, where that is enough: never an admin of the platform.

        Nor one who has another identity at the provider: the address is somebody else's by now.
        """
        theirs = (IDENTITIES.c.user_id == known.id) & (
            IDENTITIES.c.issuer == arrived.provider.settings.issuer
        )
        other = (await session.execute(select(IDENTITIES.c.subject).where(theirs))).first()
        if not arrived.provider.settings.link_by_email or known.is_admin or other is not None:
            raise NotLetInError("taken", known.id)
        await self._post.take(session, "identity_linked", known.email)
        if known.state == UserState.INVITED.value:
            now = self._links.clock()
            await change(session, known.id, now, retoken=True, state=UserState.ACTIVE.value)
            await self._links.drop(session, known.id, "password")
            await self._say(session, UserActivated(user_id=known.id), arrived)
        return known.id

    async def _say(
        self, session: AsyncSession, data: IdentityLinked | UserActivated, arrived: Arrived
    ) -> None:
        message = told(
            data,
            self._links.clock(),
            subject=data.user_id,
            actor=f"oidc:{arrived.provider.name}",
            request_id=arrived.asking.request_id,
        )
        await say(session, message)


async def _bound(session: AsyncSession, arrived: Arrived) -> UUID | None:
    this = (IDENTITIES.c.issuer == arrived.provider.settings.issuer) & (
        IDENTITIES.c.subject == arrived.subject
    )
    return await session.scalar(select(IDENTITIES.c.user_id).where(this))


async def note_used(session: AsyncSession, arrived: Arrived, now: datetime) -> None:
    """Write down when an identity was last used."""
    this = (IDENTITIES.c.issuer == arrived.provider.settings.issuer) & (
        IDENTITIES.c.subject == arrived.subject
    )
    await session.execute(update(IDENTITIES).where(this).values(used_at=now))


async def is_federated(session: AsyncSession, user_id: UUID) -> bool:
    """Whether a user can come by a provider."""
    theirs = select(IDENTITIES.c.user_id).where(IDENTITIES.c.user_id == user_id).limit(1)
    return await session.scalar(theirs) is not None
