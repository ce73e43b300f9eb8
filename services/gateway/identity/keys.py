"""API keys: high-entropy secrets, of which only a keyed hash is stored.

A key is found by its hash, which nobody without the pepper can aim at, so that neither the time of
a look-up nor a copy of the table gives anything away. A checked key is trusted for some seconds
(`HOSTLER_KEY_CACHE`): a revoked one works that much longer at most.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, insert
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.leases import Clock
from contracts.identity import Role
from services.gateway.tables import API_KEYS

MAX_LENGTH = 256
_CACHED = 10_000
_OURS = 11  # "hk_" and the eight characters that are no secret
_FOREIGN = 4


@dataclass(frozen=True)
class NewKey:
    """A key at the only moment at which its secret is known."""

    id: UUID
    secret: str
    prefix: str


class Keys:
    """Makes and checks keys."""

    def __init__(
        self, database: Database, pepper: bytes, clock: Clock, cached_for: timedelta
    ) -> None:
        self.database = database
        self.clock = clock
        self._pepper = pepper
        self._cached_for = cached_for
        self._cache: dict[bytes, tuple[Caller, datetime]] = {}
        self._looked_for: dict[bytes, asyncio.Task[Caller | None]] = {}
        """Look-ups under way: however many requests come with one key, one asks for it."""

    async def check(self, secret: str) -> Caller | None:
        """Who a key belongs to; None if it is unknown or revoked."""
        if not secret or len(secret) > MAX_LENGTH:
            return None
        digest = self.hash(secret)
        caller, until = self._cache.get(digest, (None, None))
        if caller is not None and until is not None and self.clock() < until:
            return caller
        self._cache.pop(digest, None)
        looking = self._looked_for.get(digest)
        if looking is None:
            looking = self._looked_for[digest] = asyncio.create_task(self._look(digest))
            looking.add_done_callback(partial(self._looked, digest))
        return await asyncio.shield(looking)

    async def make(
        self, session: AsyncSession, caller: Caller, name: str, secret: str | None = None
    ) -> NewKey | None:
        """A key of the caller's project with the caller's role; None if name or secret is taken."""
        secret = secret or f"hk_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"
        shown = _OURS if secret.startswith("hk_") else _FOREIGN
        made = NewKey(new_id(), secret, secret[:shown])
        row = insert(session, API_KEYS).values(
            id=made.id,
            project_id=caller.project_id,
            name=name,
            role=caller.role.value,
            prefix=made.prefix,
            hash=self.hash(secret),
            created_at=self.clock(),
            created_by=caller.actor,
        )
        taken = await session.execute(row.on_conflict_do_nothing().returning(API_KEYS.c.id))
        return made if taken.first() else None

    def hash(self, secret: str) -> bytes:
        """What is stored of a secret."""
        return hmac.digest(self._pepper, secret.encode(), "sha256")

    def forget(self) -> None:
        """Check every key anew: one was revoked here."""
        self._cache.clear()
        self._looked_for.clear()

    def _looked(self, digest: bytes, task: asyncio.Task[Caller | None]) -> None:
        if self._looked_for.get(digest) is task:
            del self._looked_for[digest]

    async def _look(self, digest: bytes) -> Caller | None:
        caller = await self._find(digest)
        # One that was revoked here meanwhile is not to be remembered.
        if caller is not None and self._looked_for.get(digest) is asyncio.current_task():
            self._remember(digest, caller)
        return caller

    async def _find(self, digest: bytes) -> Caller | None:
        unrevoked = (API_KEYS.c.hash == digest) & API_KEYS.c.revoked_at.is_(None)
        async with self.database.reading() as session:
            row = (await session.execute(select(API_KEYS).where(unrevoked))).first()
        return _caller(row) if row else None

    def _remember(self, digest: bytes, caller: Caller) -> None:
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        self._cache[digest] = (caller, self.clock() + self._cached_for)


def _caller(row: Row[Any]) -> Caller:
    return Caller(f"key:{row.name}", row.project_id, Role(row.role))


def derive_pepper(given: str | None, internal_secret: str) -> bytes:
    """The pepper that was given, or one that follows from the internal secret."""
    if given:
        return given.encode()
    return hashlib.blake2b(
        b"hostler gateway pepper", key=hashlib.sha256(internal_secret.encode()).digest()
    ).digest()


class FirstKeys:
    """Sees to it that each project has a key to begin with."""

    def __init__(
        self, keys: Keys, projects: list[str], given: str | None, show: Callable[[str], None]
    ) -> None:
        self.keys = keys
        self.projects = projects
        self.given = given
        self.show = show

    async def ensure(self, exclusively: Callable[[AsyncSession, str], Awaitable[None]]) -> None:
        """Store the given key, and make, and show once, one for each project that has none."""
        made: list[tuple[str, NewKey]] = []
        async with self.keys.database.session() as session:
            await exclusively(session, "first-keys")
            if self.given:
                await self._make(session, self.projects[0], self.given)
            for project in self.projects:
                if not await _has_key(session, project):
                    key = await self._make(session, project, None)
                    made += [(project, key)] if key else []
        for project, key in made:
            self.show(f"first API key of project {project}, shown only now: {key.secret}")

    async def _make(self, session: AsyncSession, project: str, secret: str | None) -> NewKey | None:
        admin = Caller("hostler/gateway", project, Role.ADMIN)
        name = "first" if secret is None else "environment"
        made = await self.keys.make(session, admin, name, secret)
        if made is None and secret and not await self._known(session, secret):
            # The environment holds another key than at the last start: both are good.
            made = await self.keys.make(session, admin, f"{name}-{secrets.token_hex(4)}", secret)
        return made

    async def _known(self, session: AsyncSession, secret: str) -> bool:
        query = select(API_KEYS.c.id).where(API_KEYS.c.hash == self.keys.hash(secret))
        return (await session.execute(query)).first() is not None


async def _has_key(session: AsyncSession, project: str) -> bool:
    count = select(func.count()).where(API_KEYS.c.project_id == project)
    return bool(await session.scalar(count))
