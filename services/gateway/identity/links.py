"""Links that are sent by mail: signed, good once and for a while; of each only a hash is kept."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from sqlalchemy import ColumnElement, Row, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.ids import new_id
from chassis.leases import Clock
from chassis.problems import Refusal, invalid
from services.gateway.identity.tables import LINKS

Purpose = Literal["password", "email"]
MAX_LENGTH = 1024
_ALGORITHM = "HS256"
_TYPE = "link+jwt"


@dataclass(frozen=True)
class Followed:
    """A link that was followed, for the only time."""

    user_id: UUID
    email: str


class Links:
    """Makes links and takes them back. What was not signed here costs no question to the database."""

    def __init__(self, key: bytes, issuer: str, clock: Clock) -> None:
        self._key = OctKey.import_key(key)
        self._issuer = issuer
        self.clock = clock

    async def make(
        self,
        session: AsyncSession,
        user_id: UUID,
        purpose: Purpose,
        email: str,
        lifetime: timedelta,
    ) -> str:
        """The token of a new link."""
        now, link_id = self.clock(), new_id()
        ends = now + lifetime
        token = self._sign(link_id, purpose, ends)
        row = LINKS.insert().values(
            id=link_id,
            user_id=user_id,
            purpose=purpose,
            hash=_hash(token),
            email=email,
            made_at=now,
            expires_at=ends,
        )
        await session.execute(row)
        return token

    async def look(self, session: AsyncSession, token: str, purpose: Purpose) -> Followed:
        """Whose it is, without using it up; a 400 if it does not hold."""
        found = select(LINKS).where(self._holds(token, purpose))
        return _followed((await session.execute(found)).first())

    async def follow(self, session: AsyncSession, token: str, purpose: Purpose) -> Followed:
        """Use it up: of two at once one does, the other gets a 400 like everybody later."""
        using = update(LINKS).where(self._holds(token, purpose)).values(used_at=self.clock())
        return _followed((await session.execute(using.returning(LINKS))).first())

    async def drop(self, session: AsyncSession, user_id: UUID, purpose: Purpose) -> None:
        """No link of a user for this purpose holds any more."""
        theirs = (LINKS.c.user_id == user_id) & (LINKS.c.purpose == purpose)
        await session.execute(delete(LINKS).where(theirs))

    async def newest(
        self, session: AsyncSession, user_id: UUID, purpose: Purpose
    ) -> datetime | None:
        """When a user was last sent one."""
        theirs = (LINKS.c.user_id == user_id) & (LINKS.c.purpose == purpose)
        return await session.scalar(select(func.max(LINKS.c.made_at)).where(theirs))

    def _sign(self, link_id: UUID, purpose: Purpose, ends: datetime) -> str:
        claims = {
            "iss": self._issuer,
            "aud": purpose,
            "jti": str(link_id),
            "exp": int(ends.timestamp()),
        }
        header = {"alg": _ALGORITHM, "typ": _TYPE}
        return jwt.encode(header, claims, self._key, algorithms=[_ALGORITHM])

    def _holds(self, token: str, purpose: Purpose) -> ColumnElement[bool]:
        unused = LINKS.c.used_at.is_(None) & (LINKS.c.expires_at > self.clock())
        this = (LINKS.c.id == self._id(token, purpose)) & (LINKS.c.hash == _hash(token))
        return this & (LINKS.c.purpose == purpose) & unused

    def _id(self, token: str, purpose: Purpose) -> UUID:
        rules = jwt.JWTClaimsRegistry(
            now=int(self.clock().timestamp()),
            leeway=0,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": purpose},
            exp={"essential": True},
        )
        try:
            read = jwt.decode(token[:MAX_LENGTH], self._key, algorithms=[_ALGORITHM])
            rules.validate(read.claims)
            return UUID(read.claims["jti"])
        except (JoseError, ValueError, KeyError) as error:
            raise _no_link() from error


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _followed(row: Row[Any] | None) -> Followed:
    if row is None:
        raise _no_link()
    return Followed(row.user_id, row.email)


def _no_link() -> Refusal:
    return invalid("body.token", "This link does not hold: it was used, is too old or was altered.")
