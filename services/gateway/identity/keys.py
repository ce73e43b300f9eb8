"""API keys: high-entropy secrets, of which only a keyed hash is stored.

A key is found by its hash, which nobody without the pepper can aim at, so that neither the time of
a look-up nor a copy of the table gives anything away. A checked key is trusted for some seconds
(`HOSTLER_KEY_CACHE`): a revoked one works that much longer at most.
"""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, insert
from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.leases import Clock
from chassis.rows import update_rows
from contracts.errors import ErrorCode
from contracts.identity import Role, allows
from services.gateway.identity import marked
from services.gateway.identity.accounts.tables import SERVICE_ACCOUNTS
from services.gateway.identity.addresses import networks
from services.gateway.identity.tables import MEMBERSHIPS, USERS
from services.gateway.identity.trust import Trusted
from services.gateway.identity.users import UserState
from services.gateway.tables import API_KEYS

MAX_LENGTH = 256
USED_EVERY = timedelta(minutes=1)
_FOREIGN = 4


@dataclass(frozen=True)
class NewKey:
    """A key at the only moment at which its secret is known."""

    id: UUID
    secret: str
    prefix: str


@dataclass(frozen=True)
class Owner:
    """Whose a key is, beside the project's: it can do no more than they can."""

    user_id: UUID | None = None
    service_account_id: UUID | None = None


@dataclass(frozen=True)
class Bounds:
    """What a key is narrowed to, beyond its role; None: it is not."""

    scopes: tuple[str, ...] | None = None
    allowed_cidrs: tuple[str, ...] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Known:
    """Whom a secret belongs to, and until when it works; None: until it is revoked."""

    caller: Caller
    until: datetime | None


class Keys:
    """Makes and checks keys."""

    def __init__(
        self, database: Database, pepper: bytes, clock: Clock, cached_for: timedelta
    ) -> None:
        self.database = database
        self.clock = clock
        self._pepper = pepper
        self._known: Trusted[bytes, Known] = Trusted(self._find, clock, cached_for)
        self._used: dict[UUID, datetime] = {}
        """When keys were last used, as far as it is not written down yet."""

    async def check(self, secret: str) -> Caller | None:
        """Who a key belongs to; None if it is unknown, revoked or over."""
        if not secret or len(secret) > MAX_LENGTH:
            return None
        known, now = await self._known.get(self.hash(secret)), self.clock()
        if known is None or (known.until is not None and known.until <= now):
            return None
        if known.caller.key_id is not None:
            self._used[known.caller.key_id] = now
        return known.caller

    async def make(
        self,
        session: AsyncSession,
        caller: Caller,
        name: str,
        secret: str | None = None,
        *,
        bounds: Bounds | None = None,
        owner: Owner | None = None,
    ) -> NewKey | None:
        """A key of the caller's project with the caller's role; None if name or secret is taken."""
        made, narrowed, whose = _new(secret), bounds or Bounds(), owner or Owner(caller.user_id)
        row = insert(session, API_KEYS).values(
            id=made.id,
            project_id=caller.project_id,
            name=name,
            role=caller.role.value,
            prefix=made.prefix,
            hash=self.hash(made.secret),
            created_at=self.clock(),
            created_by=caller.actor,
            user_id=whose.user_id,
            service_account_id=whose.service_account_id,
            scopes=_listed(narrowed.scopes),
            allowed_cidrs=_listed(narrowed.allowed_cidrs),
            expires_at=narrowed.expires_at,
        )
        taken = await session.execute(row.on_conflict_do_nothing().returning(API_KEYS.c.id))
        return made if taken.first() else None

    async def rotate(
        self, session: AsyncSession, row: Row[Any], overlap: timedelta
    ) -> NewKey | None:
        """Another secret for a key; the one before works for `overlap`. None: it was rotated just now."""
        made = _new(None)
        rotating = update(API_KEYS).where(API_KEYS.c.id == row.id, API_KEYS.c.hash == row.hash)
        rotating = rotating.values(
            hash=self.hash(made.secret),
            prefix=made.prefix,
            former_hash=row.hash,
            former_until=self.clock() + overlap,
        )
        done = await session.scalar(rotating.returning(API_KEYS.c.id))
        return NewKey(row.id, made.secret, made.prefix) if done is not None else None

    def hash(self, secret: str) -> bytes:
        """What is stored of a secret."""
        return hmac.digest(self._pepper, secret.encode(), "sha256")

    def forget(self) -> None:
        """Check every key anew: one was changed here."""
        self._known.forget()

    async def note_used(self) -> None:
        """Write down when keys were last used. What a killed process has not written is lost."""
        used, self._used = self._used, {}
        if not used:
            return
        rows = [{"id": key, "last_used_at": at} for key, at in sorted(used.items())]
        async with self.database.session() as session:
            await update_rows(session, API_KEYS, "id", rows)

    async def _find(self, digest: bytes) -> Known | None:
        theirs = (MEMBERSHIPS.c.user_id == API_KEYS.c.user_id) & (
            MEMBERSHIPS.c.project_id == API_KEYS.c.project_id
        )
        still_in = (USERS.c.state == UserState.ACTIVE.value) & MEMBERSHIPS.c.role.is_not(None)
        account = SERVICE_ACCOUNTS.c.id == API_KEYS.c.service_account_id
        query = (
            select(
                API_KEYS,
                MEMBERSHIPS.c.role.label("makers_role"),
                SERVICE_ACCOUNTS.c.role.label("accounts_role"),
                SERVICE_ACCOUNTS.c.name.label("accounts_name"),
                SERVICE_ACCOUNTS.c.scopes.label("accounts_scopes"),
            )
            .outerjoin(USERS, USERS.c.id == API_KEYS.c.user_id)
            .outerjoin(MEMBERSHIPS, theirs)
            .outerjoin(SERVICE_ACCOUNTS, account)
            .where(self._holds(digest), API_KEYS.c.revoked_at.is_(None))
            .where(or_(API_KEYS.c.user_id.is_(None), still_in))
            .where(or_(API_KEYS.c.service_account_id.is_(None), SERVICE_ACCOUNTS.c.enabled))
        )
        async with self.database.reading() as session:
            row = (await session.execute(query)).first()
        return _known(row, is_former=row.hash != digest) if row else None

    def _holds(self, digest: bytes) -> ColumnElement[bool]:
        now = self.clock()
        former = (API_KEYS.c.former_hash == digest) & (API_KEYS.c.former_until > now)
        return or_(API_KEYS.c.hash == digest, former)


def _new(secret: str | None) -> NewKey:
    secret = secret or marked.make("hk")
    return NewKey(
        new_id(), secret, secret[: marked.SHOWN if secret.startswith("hk_") else _FOREIGN]
    )


def _listed(these: tuple[str, ...] | None) -> list[str] | None:
    return None if these is None else list(these)


def _least(role: Role, within: Role | None) -> Role:
    """The lesser one; its own where a role of the policy file is the other, for those have no order."""
    return within if within is not None and role.covers(within) else role


def _owner(row: Row[Any]) -> str:
    """The user or service account whose key it is, as the actor that they are themselves."""
    if row.user_id:
        return f"user:{row.user_id}"
    return f"service:{row.accounts_name}" if row.accounts_name else ""


def _known(row: Row[Any], *, is_former: bool) -> Known:
    ends = [each for each in (row.expires_at, row.former_until if is_former else None) if each]
    owners_role = row.makers_role or row.accounts_role
    within = Role(owners_role) if owners_role else None
    caller = Caller(
        f"key:{row.name}",
        row.project_id,
        _least(Role(row.role), within),
        scopes=both(row.scopes, row.accounts_scopes),
        key_id=row.id,
        within=within,
        owned_by=_owner(row),
        allowed_cidrs=None if row.allowed_cidrs is None else tuple(row.allowed_cidrs),
    )
    return Known(caller, min(ends) if ends else None)


def holds_network(given: Sequence[str], wanted: str) -> bool:
    """Whether one of the networks `given` holds all of `wanted`."""
    network = networks((wanted,))[0]
    return any(
        (
            isinstance(each, IPv4Network)
            and isinstance(network, IPv4Network)
            and network.subnet_of(each)
        )
        or (
            isinstance(each, IPv6Network)
            and isinstance(network, IPv6Network)
            and network.subnet_of(each)
        )
        for each in networks(tuple(given))
    )


def both(one: Sequence[str] | None, other: Sequence[str] | None) -> tuple[str, ...] | None:
    """The scopes that stand for what both do; None: for everything."""
    if one is None or other is None:
        left = one if other is None else other
        return None if left is None else tuple(left)
    within = [each for each in one if allows(other, each)]
    return tuple(dict.fromkeys([*within, *[each for each in other if allows(one, each)]]))


def require_within(
    caller: Caller, scopes: Sequence[str] | None, cidrs: Sequence[str] | None
) -> None:
    """A 403 unless the caller's own scopes and networks hold all of these: nobody makes more of themselves."""
    wider = scopes is None or not all(caller.has(each) for each in scopes)
    if caller.scopes is not None and wider:
        raise Terminal(ErrorCode.FORBIDDEN, "A key cannot have scopes that its maker has not.")
    if caller.allowed_cidrs is None:
        return
    if cidrs is None or not all(holds_network(caller.allowed_cidrs, each) for each in cidrs):
        raise Terminal(ErrorCode.FORBIDDEN, "A key works from no network that its maker does not.")


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
