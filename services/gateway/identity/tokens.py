"""Access tokens: JSON Web Tokens (RFC 9068) that any gateway checks without asking the database."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import JoseError

from chassis.identity import Caller
from chassis.ids import new_id
from chassis.leases import Clock
from contracts.identity import Role
from services.gateway.identity.methods import Evidence
from services.gateway.identity.signing import ALGORITHM, Keyring, SigningKey

AUDIENCE = "hostler"
TYPE = "at+jwt"
MAX_LENGTH = 8192
NEVER = datetime.fromtimestamp(0, UTC)
_REMEMBERED = 10_000


@dataclass(frozen=True)
class Bearer:
    """What an access token says: whose it is, of which session, and their roles."""

    user_id: UUID
    session_id: UUID
    version: int
    """The user's when it was signed; another one since makes the token worthless."""
    projects: Mapping[str, Role]
    is_platform_admin: bool
    expires_at: datetime
    amr: tuple[str, ...] = ()
    """How its user showed that it is them (RFC 8176), last at `authenticated_at`."""
    authenticated_at: datetime = NEVER
    acting: dict[str | None, Caller] = field(
        default_factory=dict[str | None, Caller], compare=False, repr=False
    )
    """Who it is in the projects that were asked for, of those that it names; None: in none by name."""


class AccessTokens:
    """Signs and reads them. What was read is remembered while its key is trusted."""

    def __init__(self, keyring: Keyring, issuer: str, lifetime: timedelta, clock: Clock) -> None:
        self.keyring = keyring
        self.lifetime = lifetime
        self._issuer = issuer
        self._clock = clock
        self._read: dict[bytes, tuple[Bearer, str]] = {}

    def bearer(
        self,
        user_id: UUID,
        session_id: UUID,
        version: int,
        projects: Mapping[str, Role],
        *,
        is_platform_admin: bool,
        shown: Evidence,
    ) -> Bearer:
        """What a token that is signed now is to say."""
        ends = self._clock() + self.lifetime
        return Bearer(
            user_id, session_id, version, projects, is_platform_admin, ends, shown.amr, shown.at
        )

    async def sign(self, bearer: Bearer) -> str:
        """The token."""
        signer = await self.keyring.signer()
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": str(bearer.user_id),
            "sid": str(bearer.session_id),
            "sv": bearer.version,
            "projects": {project: role.value for project, role in bearer.projects.items()},
            "admin": bearer.is_platform_admin,
            "amr": list(bearer.amr),
            "auth_time": int(bearer.authenticated_at.timestamp()),
            "iat": int(self._clock().timestamp()),
            "exp": int(bearer.expires_at.timestamp()),
            "jti": str(new_id()),
        }
        header = {"alg": ALGORITHM, "kid": signer.id, "typ": TYPE}
        return jwt.encode(header, claims, signer.key, algorithms=[ALGORITHM])

    async def read(self, token: str) -> Bearer | None:
        """What it says; None unless a key of this deployment signed it, for here, and not long ago."""
        if len(token) > MAX_LENGTH or not token.isascii():
            return None
        digest = hashlib.sha256(token.encode()).digest()
        bearer, key_id = self._read.get(digest, (None, ""))
        if bearer is None:
            key = await self._key(token)
            bearer = self._verified(token, key) if key is not None else None
            if bearer is None or key is None:
                return None
            key_id = key.id
            self._remember(digest, bearer, key_id)
        if self.keyring.trusted(key_id) is None or bearer.expires_at <= self._clock():
            self._read.pop(digest, None)
            return None
        return bearer

    async def _key(self, token: str) -> SigningKey | None:
        """The key that the header names, if it is one of ours: it is never anything but a name."""
        try:
            header: dict[str, Any] = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError):
            return None
        key_id = header.get("kid")
        if (
            header.get("alg") != ALGORITHM
            or header.get("typ") != TYPE
            or not isinstance(key_id, str)
        ):
            return None
        return await self.keyring.find(key_id)

    def _verified(self, token: str, key: SigningKey) -> Bearer | None:
        rules = jwt.JWTClaimsRegistry(
            now=int(self._clock().timestamp()),
            leeway=0,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(token, key.key, algorithms=[ALGORITHM]).claims
            rules.validate(claims)
            return _bearer(claims)
        except (JoseError, ValueError, KeyError, TypeError):
            return None

    def _remember(self, digest: bytes, bearer: Bearer, key_id: str) -> None:
        if len(self._read) >= _REMEMBERED:
            self._read.clear()
        self._read[digest] = (bearer, key_id)


def _bearer(claims: dict[str, Any]) -> Bearer:
    return Bearer(
        user_id=UUID(claims["sub"]),
        session_id=UUID(claims["sid"]),
        version=int(claims["sv"]),
        projects={str(project): Role(role) for project, role in claims["projects"].items()},
        is_platform_admin=claims["admin"] is True,
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        amr=tuple(str(each) for each in claims.get("amr", ())),
        authenticated_at=datetime.fromtimestamp(claims.get("auth_time", 0), UTC),
    )
