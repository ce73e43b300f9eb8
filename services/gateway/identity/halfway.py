"""Logins that are half done: password or provider vouched for somebody, a second factor is to come.

Whoever gets so far has a token that is good for that alone: it is signed with a key of its own, for an
audience of its own, once, for five minutes, and only while the user is as they were.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.leases import Clock
from services.gateway.identity.challenge import unauthenticated
from services.gateway.identity.challenges import LIFETIME, Challenges
from services.gateway.identity.methods import PASSWORD, PROVIDER, ProofKind
from services.gateway.identity.oidc.entry import Entry, has_ended

AUDIENCE = "mfa"
MAX_LENGTH = 8192
"""One that comes from a provider holds names of the provider's."""
_ALGORITHM = "HS256"
_TYPE = "mfa+jwt"


@dataclass(frozen=True)
class Halfway:
    """What is given to somebody who came so far: their token, and what they may come with."""

    token: str
    kinds: tuple[ProofKind, ...]
    expires_at: datetime


@dataclass(frozen=True)
class Begun:
    """What such a token says."""

    user_id: UUID
    version: int
    nonce: bytes
    entry: Entry | None
    """The login at a provider that it began with; None: it was the password."""

    @property
    def shown(self) -> tuple[str, ...]:
        """What they have shown by now."""
        return (PASSWORD,) if self.entry is None else (PROVIDER,)


class HalfLogins:
    """Makes such tokens, and takes them back."""

    def __init__(self, key: bytes, issuer: str, challenges: Challenges, clock: Clock) -> None:
        self._key = OctKey.import_key(key)
        self._issuer = issuer
        self._challenges = challenges
        self.clock = clock

    async def begin(
        self,
        session: AsyncSession,
        row: Row[Any],
        kinds: tuple[ProofKind, ...],
        entry: Entry | None = None,
    ) -> Halfway:
        """For a user whose password was right, or for whom a provider vouched."""
        nonce = await self._challenges.make(session, "half_login", row.id)
        ends = self.clock() + LIFETIME
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": str(row.id),
            "sv": row.version,
            "jti": nonce.hex(),
            "exp": int(ends.timestamp()),
        }
        if entry is not None:
            claims["by"] = entry.model_dump()
        header = {"alg": _ALGORITHM, "typ": _TYPE}
        token = jwt.encode(header, claims, self._key, algorithms=[_ALGORITHM])
        return Halfway(token, kinds, ends)

    def read(self, token: str) -> Begun:
        """What it says; a 401 unless it was signed here, for this, not long ago."""
        rules = jwt.JWTClaimsRegistry(
            now=int(self.clock().timestamp()),
            leeway=0,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
        )
        try:
            read = jwt.decode(token[:MAX_LENGTH], self._key, algorithms=[_ALGORITHM])
            if read.header.get("typ") != _TYPE:
                raise over()
            rules.validate(read.claims)
            claims: dict[str, Any] = read.claims
            by = claims.get("by")
            return Begun(
                UUID(claims["sub"]),
                int(claims["sv"]),
                bytes.fromhex(claims["jti"]),
                None if by is None else Entry.model_validate(by),
            )
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise over() from error

    async def finish(self, session: AsyncSession, row: Row[Any], begun: Begun) -> bool:
        """Use it up; False if it was used, or the user has changed since."""
        is_same = row.state == "active" and row.version == begun.version
        if begun.entry is not None and await has_ended(session, begun.entry):
            return False
        return is_same and await self._challenges.take(session, begun.nonce, "half_login", row.id)


def over() -> Exception:
    """A 401: log in again."""
    return unauthenticated("This login is over: begin it again.")
