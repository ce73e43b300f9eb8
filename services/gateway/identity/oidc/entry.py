"""A login at a provider that let somebody in: sessions that come from it end with it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.outbox import say
from contracts.access.federation import IdentityUsed
from services.gateway.identity.oidc.tables import IDENTITIES, PROVIDER_SESSIONS
from services.gateway.identity.once import was_used
from services.gateway.identity.saying import Asking, told, user
from services.gateway.identity.sessions import Open, Sessions
from services.gateway.identity.tables import CHALLENGES

LONGEST = 255
"""Characters of a subject or session id (OpenID Connect Core 1.0, 2)."""
_Name = Annotated[str, Field(max_length=LONGEST)]


class Entry(BaseModel):
    """Who came, by which provider, and in which session there, if it tells."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    issuer: str
    subject: _Name
    sid: _Name | None = None


async def has_ended(session: AsyncSession, entry: Entry) -> bool:
    """Whether the provider has said that the session there is over."""
    if entry.sid is None:
        return False
    return await was_used(session, entry.issuer, f"ended:{entry.sid}")


async def bind(
    session: AsyncSession, opened: Open, entry: Entry, sessions: Sessions, asking: Asking
) -> None:
    """Have a session end with the one at the provider, and tell of it."""
    kept = PROVIDER_SESSIONS.insert().values(
        session_id=opened.id, issuer=entry.issuer, subject=entry.subject, sid=entry.sid
    )
    await session.execute(kept)
    used = IdentityUsed(
        user_id=opened.user_id,
        session_id=opened.id,
        provider=entry.provider,
        address=asking.address,
    )
    now, actor = sessions.clock(), user(opened.user_id)
    message = told(used, now, subject=opened.user_id, actor=actor, request_id=asking.request_id)
    await say(session, message)


async def drop_halves(session: AsyncSession, issuer: str, subject: str) -> None:
    """End the logins of somebody of whom a second factor is awaited yet."""
    whose = select(IDENTITIES.c.user_id).where(
        IDENTITIES.c.issuer == issuer, IDENTITIES.c.subject == subject
    )
    theirs = (CHALLENGES.c.purpose == "half_login") & CHALLENGES.c.user_id.in_(whose)
    await session.execute(delete(CHALLENGES).where(theirs))
