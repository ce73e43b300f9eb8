"""Callers who come with a token of Keystone: believed for a while, in the project that theirs is here."""

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from chassis.database import Database
from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.leases import Clock
from chassis.outbox import say
from contracts.access.federation import KeystoneAccepted
from contracts.errors import ErrorCode
from contracts.identity import Role
from services.gateway.identity.keystone.cloud import Keystone, KeystoneToken, require_token
from services.gateway.identity.keystone.settings import KeystoneSettings
from services.gateway.identity.saying import Asking, told

REMEMBERED = 10_000
NO_FOR = timedelta(seconds=5)
"""How long it is believed that a token is none."""


@dataclass(frozen=True)
class _Known:
    token: KeystoneToken | None
    until: datetime


class KeystoneCallers:
    """Recognizes them. What is remembered is bounded, and holds hashes instead of tokens."""

    def __init__(
        self, database: Database, keystone: Keystone, settings: KeystoneSettings, clock: Clock
    ) -> None:
        self.database = database
        self.keystone = keystone
        self.clock = clock
        self._settings = settings
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[_Known]] = {}
        self._told: OrderedDict[bytes, None] = OrderedDict()

    async def caller(self, text: str, asking: Asking) -> Caller | None:
        """Whose a token is; None if it is none or over, Terminal(FORBIDDEN) if it is for nothing here.

        Retry(UNAVAILABLE) while Keystone does not answer: what is not known is neither let in nor
        told that it is wrong.
        """
        digest = hashlib.sha256(require_token(text).encode()).digest()
        token = (await self._look(digest, text)).token
        if token is None or token.expires_at <= self.clock():
            return None
        caller = self._placed(token)
        if digest not in self._told:
            await self._tell(token, caller, asking)
            self._told[digest] = None
            while len(self._told) > REMEMBERED:
                self._told.popitem(last=False)
        return caller

    async def _look(self, digest: bytes, text: str) -> _Known:
        known = self._known.get(digest)
        if known is not None and self.clock() < known.until:
            return known
        asking = self._asked.get(digest)
        if asking is None:
            asking = self._asked[digest] = asyncio.create_task(self._ask(digest, text))
            asking.add_done_callback(partial(self._forget_asked, digest))
        return await asyncio.shield(asking)

    async def _ask(self, digest: bytes, text: str) -> _Known:
        token, now = await self.keystone.look(text), self.clock()
        until = now + NO_FOR
        if token is not None:
            until = min(token.expires_at, now + self._settings.keystone_cache)
        self._known[digest] = known = _Known(token, until)
        self._known.move_to_end(digest)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return known

    def _forget_asked(self, digest: bytes, task: asyncio.Task[_Known]) -> None:
        self._asked.pop(digest, None)
        if not task.cancelled():
            task.exception()  # whoever still waits is told; nobody else has to be

    def _placed(self, token: KeystoneToken) -> Caller:
        project, roles = self._project(token), self._settings.keystone_roles
        held = [roles[each.name] for each in token.roles if each.name in roles]
        if project is None or not held:
            said = "The token's Keystone project, or its roles there, are none of Hostler's."
            raise Terminal(ErrorCode.FORBIDDEN, said)
        return Caller(f"keystone:{token.user.id}", project, max(held, key=_rank))

    def _project(self, token: KeystoneToken) -> str | None:
        theirs, known = token.project, self._settings.keystone_projects
        if theirs is None or token.is_domain or not theirs.id:
            return None
        return known.get(theirs.id) or known.get(f"{theirs.domain.name}/{theirs.name}")

    async def _tell(self, token: KeystoneToken, caller: Caller, asking: Asking) -> None:
        accepted = KeystoneAccepted(
            user_id=token.user.id,
            keystone_project_id=token.project.id if token.project else "",
            role=caller.role,
            address=asking.address,
        )
        message = told(
            accepted,
            self.clock(),
            subject=caller.actor,
            actor=caller.actor,
            request_id=asking.request_id,
            project=caller.project_id,
        )
        async with self.database.session() as session:
            await say(session, message)


def _rank(role: Role) -> int:
    """Roles of the policy file cover no others: one of the three goes before them."""
    return Role.BUILT_IN.index(role) if role in Role.BUILT_IN else -1
