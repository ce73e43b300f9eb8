"""Access tokens of service accounts: of the same kind as users', with a `sub` that no user has."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import JoseError
from sqlalchemy import Row, select

from chassis.database import Database
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.leases import Clock
from contracts.identity import Role
from services.gateway.identity.accounts.tables import SERVICE_ACCOUNTS
from services.gateway.identity.keys import both
from services.gateway.identity.signing import ALGORITHM, Keyring
from services.gateway.identity.tokens import AUDIENCE, MAX_LENGTH, TYPE
from services.gateway.identity.trust import Trusted

SUBJECT = "service:"
_MARK = b'"sub":"service:'
_REMEMBERED = 10_000


@dataclass(frozen=True)
class Said:
    """What a token says."""

    account_id: UUID
    version: int
    """The account's when it was signed; another one since makes the token worthless."""
    scopes: tuple[str, ...] | None
    expires_at: datetime


class ServiceTokens:
    """Signs and reads them; knows how their accounts stand."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        issuer: str,
        clock: Clock,
        *,
        lifetime: timedelta,
        cached_for: timedelta,
    ) -> None:
        self.database = database
        self.lifetime = lifetime
        self._keyring = keyring
        self._issuer = issuer
        self._clock = clock
        self._read: dict[bytes, tuple[Said, str]] = {}
        self._standing: Trusted[UUID, Row[Any]] = Trusted(self._ask, clock, cached_for)

    async def sign(self, account: Row[Any], scopes: Sequence[str] | None) -> str:
        """A token of an account; `scopes` narrow it."""
        signer, now = await self._keyring.signer(), self._clock()
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": f"{SUBJECT}{account.id}",
            "client_id": str(account.id),
            "sv": account.version,
            "projects": {account.project_id: account.role},
            "scopes": None if scopes is None else list(scopes),
            "iat": int(now.timestamp()),
            "exp": int((now + self.lifetime).timestamp()),
            "jti": str(new_id()),
        }
        header = {"alg": ALGORITHM, "kid": signer.id, "typ": TYPE}
        return jwt.encode(header, claims, signer.key, algorithms=[ALGORITHM])

    async def caller(self, token: str) -> Caller | None:
        """Whose it is; None unless it holds, and its account is on and as it was."""
        said = await self._said(token)
        account = await self._standing.get(said.account_id) if said is not None else None
        if said is None or account is None or account.version != said.version:
            return None
        return Caller(
            f"{SUBJECT}{account.name}",
            account.project_id,
            Role(account.role),
            scopes=both(account.scopes, said.scopes),
            service_account_id=account.id,
        )

    def forget(self) -> None:
        """Look at every account anew: one was changed here."""
        self._standing.forget()

    async def _said(self, token: str) -> Said | None:
        digest = hashlib.sha256(token.encode()).digest()
        said, key_id = self._read.get(digest, (None, ""))
        if said is None:
            said, key_id = await self._verified(token)
            if said is None:
                return None
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
            self._read[digest] = said, key_id
        if self._keyring.trusted(key_id) is None or said.expires_at <= self._clock():
            self._read.pop(digest, None)
            return None
        return said

    async def _verified(self, token: str) -> tuple[Said | None, str]:
        """What it says, and the key of ours that signed it."""
        rules = jwt.JWTClaimsRegistry(
            now=int(self._clock().timestamp()),
            leeway=0,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
        )
        try:
            header: dict[str, Any] = jws.extract_compact(token.encode()).headers()
            key_id, is_ours = header.get("kid"), header.get("typ") == TYPE
            key = await self._keyring.find(key_id) if isinstance(key_id, str) else None
            if key is None or not is_ours:
                return None, ""
            claims = jwt.decode(token, key.key, algorithms=[ALGORITHM]).claims
            rules.validate(claims)
            return _read(claims), key.id
        except (JoseError, ValueError, KeyError, TypeError):
            return None, ""

    async def _ask(self, account_id: UUID) -> Row[Any] | None:
        this = (SERVICE_ACCOUNTS.c.id == account_id) & SERVICE_ACCOUNTS.c.enabled
        async with self.database.reading() as session:
            return (await session.execute(select(SERVICE_ACCOUNTS).where(this))).first()


def is_of_service(token: str) -> bool:
    """Whether a token says so, before anything of it is checked: where to look, and nothing else."""
    if len(token) > MAX_LENGTH or not token.isascii():
        return False
    payload = token.partition(".")[2].partition(".")[0]
    try:
        return _MARK in base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    except (binascii.Error, ValueError):
        return False


def _read(claims: dict[str, Any]) -> Said:
    subject = str(claims["sub"])
    if not subject.startswith(SUBJECT):
        raise ValueError("a user's")
    scopes = claims["scopes"]
    return Said(
        UUID(subject.removeprefix(SUBJECT)),
        int(claims["sv"]),
        None if scopes is None else tuple(str(each) for each in scopes),
        datetime.fromtimestamp(claims["exp"], UTC),
    )
