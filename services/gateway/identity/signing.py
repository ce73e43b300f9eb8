"""The keys that access tokens are signed with: Ed25519, sealed in the database, shared by all gateways.

A new key is published before it signs, and an old one verifies until what it signed has expired;
so keys change without a restart, and without a token that is refused. See docs/decisions/0032.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from joserfc.jwk import OKPKey
from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.leases import Clock
from chassis.outbox import say
from contracts.access.identity import TokenKeyMade
from services.gateway.identity.saying import SOURCE, told
from services.gateway.identity.sealing import Seal
from services.gateway.identity.tables import SIGNING_KEYS
from services.gateway.locks import exclusively

LOG = logging.getLogger(__name__)
ALGORITHM = "Ed25519"
LEAD = timedelta(minutes=2)
"""Between a key's publication and its first signature; the key set may be cached half as long."""
SLACK = timedelta(minutes=1)
_AGAIN = timedelta(seconds=1)


@dataclass(frozen=True)
class SigningKey:
    """A key as a gateway holds it; without its private half where that cannot be unsealed here."""

    id: str
    key: OKPKey
    made_at: datetime
    active_at: datetime
    ends_at: datetime | None

    def holds(self, now: datetime) -> bool:
        """Whether what it signed is believed."""
        return self.ends_at is None or now < self.ends_at

    def signs(self, now: datetime) -> bool:
        """Whether it may sign."""
        return self.active_at <= now and self.holds(now) and self.key.is_private

    def shown(self) -> dict[str, str]:
        """Its public half as a JWK (RFC 8037)."""
        x = str(self.key.as_dict(private=False)["x"])
        return {
            "kty": "OKP",
            "crv": ALGORITHM,
            "x": x,
            "kid": self.id,
            "use": "sig",
            "alg": ALGORITHM,
        }


class Keyring:
    """The keys of one deployment. `every`: how often they are read anew, at the latest."""

    def __init__(
        self,
        database: Database,
        seal: Seal,
        clock: Clock,
        *,
        lifetime: timedelta,
        token_lifetime: timedelta,
        every: timedelta,
    ) -> None:
        self.database = database
        self.clock = clock
        self._seal = seal
        self._lifetime = lifetime
        self._after = token_lifetime + SLACK
        self._every = every
        self._keys: dict[str, SigningKey] = {}
        self._read_at: datetime | None = None
        self._reading = asyncio.Lock()

    def known(self) -> list[SigningKey]:
        """The keys that hold, the newest first."""
        now = self.clock()
        keys = [each for each in self._keys.values() if each.holds(now)]
        return sorted(keys, key=lambda each: (each.active_at, each.made_at), reverse=True)

    async def find(self, key_id: str) -> SigningKey | None:
        """The key of that id, if it holds. One that is unknown is looked for, once in a second."""
        if key_id not in self._keys:
            await self._read_if_old()
        return self.trusted(key_id)

    def trusted(self, key_id: str) -> SigningKey | None:
        """The same without looking for it."""
        key = self._keys.get(key_id)
        return key if key is not None and key.holds(self.clock()) else None

    async def signer(self) -> SigningKey:
        """The key to sign with; the first one is made here."""
        if self._signer() is None:
            await self.read()
        if (found := self._signer()) is not None:
            return found
        async with self.database.session() as session:
            await exclusively(session, "signing-keys")
            await self._read(session)
            if self._signer() is None:
                await self.make(session, actor=SOURCE, lead=timedelta(0))
        await self.read()
        found = self._signer()
        if found is None:
            raise RuntimeError("the key that was just made is not there")
        return found

    async def published(self) -> list[SigningKey]:
        """What the key set shows."""
        await self.signer()
        await self._read_if_old()
        return self.known()

    async def make(
        self,
        session: AsyncSession,
        *,
        actor: str,
        lead: timedelta = LEAD,
        retire: bool = False,
        request_id: str = "",
    ) -> TokenKeyMade:
        """A new key, which signs after `lead`. The others go when their tokens have, or now."""
        now = self.clock()
        active = now if retire else now + lead
        ends = now if retire else active + self._after
        unended = SIGNING_KEYS.c.ends_at.is_(None) | (SIGNING_KEYS.c.ends_at > ends)
        gone = update(SIGNING_KEYS).where(unended).values(ends_at=ends)
        former = (await session.execute(gone.returning(SIGNING_KEYS.c.id))).scalars().all()
        key = OKPKey.generate_key("Ed25519")
        parts, key_id = key.as_dict(private=True), key.thumbprint()
        row = SIGNING_KEYS.insert().values(
            id=key_id,
            public=str(parts["x"]),
            sealed=self._seal.close(str(parts["d"]).encode()),
            made_at=now,
            active_at=active,
        )
        await session.execute(row)
        made = TokenKeyMade(
            key_id=key_id, active_at=active, retired=tuple(former) if retire else ()
        )
        await say(session, told(made, now, subject=key_id, actor=actor, request_id=request_id))
        return made

    async def keep(self) -> None:
        """Read the keys again and again, and have a new one made when it is time; until cancelled."""
        while True:
            await self.rotate_if_due()
            await asyncio.sleep(max(self._every, _AGAIN).total_seconds())

    async def rotate_if_due(self) -> None:
        """Read the keys; make one if the newest is as old as keys get."""
        await self.read()
        if not self._is_due():
            return
        async with self.database.session() as session:
            await exclusively(session, "signing-keys")
            await self._read(session)
            if self._is_due():
                await self.make(session, actor=SOURCE)
        await self.read()

    async def read(self) -> None:
        """Read the keys that hold."""
        async with self.database.reading() as session:
            await self._read(session)

    async def _read(self, session: AsyncSession) -> None:
        now = self.clock()
        holds = SIGNING_KEYS.c.ends_at.is_(None) | (SIGNING_KEYS.c.ends_at > now)
        rows = (await session.execute(select(SIGNING_KEYS).where(holds))).all()
        self._keys = {row.id: self._held(row) for row in rows}
        self._read_at = now

    async def _read_if_old(self) -> None:
        async with self._reading:
            if self._read_at is None or self.clock() - self._read_at >= _AGAIN:
                await self.read()

    def _held(self, row: Row[tuple[object, ...]]) -> SigningKey:
        known = self._keys.get(row.id)
        parts: dict[str, str | list[str]] = {"kty": "OKP", "crv": ALGORITHM, "x": str(row.public)}
        plain = self._seal.open(row.sealed) if known is None else None
        if known is None and plain is None:
            LOG.error("signing key %s was sealed with another internal secret", row.id)
        if plain is not None:
            parts["d"] = plain.decode()
        key = known.key if known is not None else OKPKey.import_key(parts)
        return SigningKey(row.id, key, row.made_at, row.active_at, row.ends_at)

    def _signer(self) -> SigningKey | None:
        now = self.clock()
        return next((each for each in self.known() if each.signs(now)), None)

    def _is_due(self) -> bool:
        newest = next(iter(self.known()), None)
        return newest is not None and self.clock() - newest.made_at >= self._lifetime
