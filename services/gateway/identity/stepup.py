"""Step-up: what asks a user to prove anew that it is them (RFC 9470), and who has to have a second factor.

API keys are not asked: nobody is there who could answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.leases import Clock
from chassis.problems import Refusal
from contracts.errors import ErrorCode
from contracts.identity import Role, allows
from services.gateway.identity.challenge import unauthenticated
from services.gateway.identity.login import Login
from services.gateway.identity.methods import SEVERAL, Evidence, by_factor, by_password
from services.gateway.identity.proofs import Proof
from services.gateway.identity.proving import Proving
from services.gateway.identity.saying import Asking
from services.gateway.identity.sessions import Sessions
from services.gateway.identity.tokens import Bearer
from services.gateway.identity.users import find

ENROL, STEP_UP = "/v1/me/factors/totp", "/v1/auth/step-up"


@dataclass(frozen=True)
class Rules:
    """What the settings say. `required`: the least role that has to have a second factor; None: no role."""

    actions: Sequence[str]
    age: timedelta
    required: Role | None


class StepUp:
    """Judges access tokens by what their users have shown, and has them show it anew."""

    def __init__(
        self, rules: Rules, sessions: Sessions, login: Login, proving: Proving, clock: Clock
    ) -> None:
        self.rules = rules
        self.clock = clock
        self._sessions = sessions
        self._login = login
        self._proving = proving

    async def require_for(self, bearer: Bearer, permission: str) -> None:
        """A 401 where a permission asks for a fresh second factor of a user who has one."""
        if allows(self.rules.actions, permission) and await self._has_factor(bearer):
            self._require_fresh(bearer, several=True)

    async def require_own(self, bearer: Bearer) -> None:
        """The same for what concerns the factors themselves: without one, the password has to be fresh."""
        self._require_fresh(bearer, several=await self._has_factor(bearer))

    async def require_enrolled(self, bearer: Bearer) -> None:
        """A 403 for a user whose role has to have a second factor and who has none; a 401 if unshown."""
        if not self._has_to(bearer):
            return
        if not await self._has_factor(bearer):
            said = f"Your role asks for a second factor: POST {ENROL}, or a passkey."
            raise Refusal(ErrorCode.FACTOR_REQUIRED, said, enrol=ENROL)
        if SEVERAL not in bearer.amr:
            raise self._stale(several=True)

    async def ask_for_passkey(self, bearer: Bearer) -> dict[str, Any]:
        """What a browser is to be asked for."""
        async with self._sessions.database.session() as session:
            return await self._proving.ways.passkeys.ask(session, "step_up", bearer.user_id)

    async def by_factor(self, bearer: Bearer, proof: Proof, asking: Asking) -> Evidence:
        """What the session's user has shown, once a second factor was proved; a 401 if it does not hold."""
        shown = by_factor(proof.kind, self.clock(), bearer.amr)

        async def lift(session: AsyncSession, _: Row[Any]) -> Evidence | None:
            lifted = await self._sessions.lift(session, bearer.session_id, shown, asking)
            return shown if lifted else None

        return _still(await self._proving.prove(bearer.user_id, proof, "step_up", asking, lift))

    async def by_password(self, bearer: Bearer, password: str, asking: Asking) -> Evidence:
        """The same with the password, for a user who has no second factor."""
        if await self._has_factor(bearer):
            raise self._stale(several=True)
        async with self._sessions.database.reading() as session:
            row = await find(session, bearer.user_id)
        await self._login.confirm(row, password, asking)
        shown = by_password(self.clock())
        async with self._sessions.database.session() as session:
            lifted = await self._sessions.lift(session, bearer.session_id, shown, asking)
        return _still(shown if lifted else None)

    async def _has_factor(self, bearer: Bearer) -> bool:
        standing = await self._sessions.standing(bearer.session_id)
        return standing is not None and standing.has_factor

    def _has_to(self, bearer: Bearer) -> bool:
        least = self.rules.required
        if least is None:
            return False
        roles = [*bearer.projects.values(), *([Role.ADMIN] if bearer.is_platform_admin else [])]
        return any(role.covers(least) for role in roles)

    def _require_fresh(self, bearer: Bearer, *, several: bool) -> None:
        is_fresh = self.clock() - bearer.authenticated_at <= self.rules.age
        if not is_fresh or (several and SEVERAL not in bearer.amr):
            raise self._stale(several=several)

    def _stale(self, *, several: bool) -> Refusal:
        """As RFC 9470, 3, has it."""
        age = int(self.rules.age.total_seconds())
        what = "a second factor" if several else "your password"
        said = f"This asks for {what} that was shown within {age} s: POST {STEP_UP}."
        challenge = (
            'Bearer realm="hostler", error="insufficient_user_authentication", '
            f'error_description="{said}", max_age="{age}"'
        )
        headers = {"WWW-Authenticate": challenge}
        return Refusal(
            ErrorCode.STEP_UP_REQUIRED, said, headers=headers, step_up=STEP_UP, max_age=age
        )


def _still(shown: Evidence | None) -> Evidence:
    if shown is None:
        raise unauthenticated("The session is over: log in.", tried=True)
    return shown
