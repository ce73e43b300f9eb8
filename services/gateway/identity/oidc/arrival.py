"""Coming in by a provider, and going out again: from the first redirect to the session, and its end."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.errors import HostlerError, Terminal
from chassis.leases import Clock
from chassis.outbox import say
from chassis.problems import invalid
from contracts.access.federation import IdentityRefused
from contracts.access.identity import FactorAsked, UserChanged
from contracts.errors import ErrorCode
from services.gateway.identity.challenge import unauthenticated
from services.gateway.identity.factors import kinds
from services.gateway.identity.halfway import HalfLogins, Halfway
from services.gateway.identity.methods import by_provider
from services.gateway.identity.oidc.attempts import LIFETIME, Attempt, Attempts, begun
from services.gateway.identity.oidc.binding import Arrived, Binding, NotLetInError, Why, note_used
from services.gateway.identity.oidc.claims import Claims, roles_by
from services.gateway.identity.oidc.entry import bind, drop_halves, has_ended
from services.gateway.identity.oidc.provider import Provider, UntrustedError
from services.gateway.identity.oidc.ruling import Changes, rule
from services.gateway.identity.oidc.tables import PROVIDER_SESSIONS
from services.gateway.identity.oidc.tokens import LoggedOut, check_id_token, check_logout_token
from services.gateway.identity.once import use
from services.gateway.identity.saying import SOURCE, Asking, told
from services.gateway.identity.sessions import Open, Sessions
from services.gateway.identity.tables import SESSIONS
from services.gateway.identity.users import change, find

_CODE = 4096
_SHOWN = 60
Reason = Literal["browser", "replayed", "provider", "token", "logout"] | Why


@dataclass(frozen=True)
class Returned:
    """What a browser comes back with: the query that the provider wrote, and its cookie."""

    query: Mapping[str, str]
    cookie: str | None


class Arrivals:
    """The way in and out by providers. `callback`: a provider's name → where it sends browsers back."""

    def __init__(
        self,
        database: Database,
        providers: Mapping[str, Provider],
        attempts: Attempts,
        sessions: Sessions,
        *,
        binding: Binding,
        halves: HalfLogins,
        public_url: str,
        projects: Collection[str],
        logged_out_url: str | None,
        clock: Clock,
    ) -> None:
        self.database = database
        self.providers = providers
        self.clock = clock
        self._attempts = attempts
        self._sessions = sessions
        self._binding = binding
        self._halves = halves
        self._public_url = public_url
        self._projects = projects
        self._logged_out_url = logged_out_url

    async def begin(self, name: str) -> tuple[str, str]:
        """Where to send a browser, and the cookie that it is to keep for then."""
        attempt = begun(name, self.clock())
        url = await self._provider(name).login_url(
            self._callback(name),
            state=attempt.state,
            nonce=attempt.nonce,
            code_challenge=attempt.challenge,
        )
        return url, self._attempts.write(attempt)

    async def end(self, name: str, returned: Returned, asking: Asking) -> Open | Halfway:
        """A session for somebody who comes back, or half of one where a second factor is asked for.

        A 401 or 403 otherwise, of which the audit is told why.
        """
        provider = self._provider(name)
        attempt = self._attempts.read(returned.cookie)
        state = returned.query.get("state", "")
        if attempt is None or not attempt.is_of(name, state, self.clock()):
            said = "This login was not begun by this browser, or too long ago: begin it again."
            raise await self._refuse(name, "browser", asking, unauthenticated(said))
        try:
            claims = await self._vouched(provider, attempt, returned.query)
            return await self._let_in(Arrived(provider, claims, asking))
        except _ReplayedError as error:
            said = unauthenticated("This login was ended already: begin it again.")
            raise await self._refuse(name, "replayed", asking, said) from error
        except _SaidNoError as error:
            raise await self._refuse(
                name, "provider", asking, unauthenticated(str(error))
            ) from error
        except UntrustedError as error:
            said = unauthenticated(f"What the provider sent does not hold: {error}.")
            raise await self._refuse(name, "token", asking, said) from error
        except NotLetInError as error:
            said = Terminal(ErrorCode.FORBIDDEN, str(error))
            raise await self._refuse(name, error.why, asking, said, error.user_id) from error

    async def leave(self, name: str, refresh_token: str, asking: Asking) -> str | None:
        """End a session here; where the browser ends it at the provider, if that has such a place."""
        provider = self._provider(name)
        await self._sessions.end(refresh_token, asking)
        try:
            return await provider.logout_url(self._logged_out_url)
        except HostlerError:  # it does not answer; here the session has ended all the same
            return None

    async def logged_out(self, name: str, token: str, asking: Asking) -> int:
        """End the sessions of somebody of whom the provider says that they logged out; how many."""
        provider = self._provider(name)
        try:
            said = await check_logout_token(provider, token, self.clock())
        except UntrustedError as error:
            refusal = invalid("body.logout_token", f"The token does not hold: {error}.")
            raise await self._refuse(name, "logout", asking, refusal) from error
        issuer, ends = provider.settings.issuer, said.until
        async with self.database.session() as session:
            if not await use(session, issuer, f"logout:{said.token_id}", ends):
                raise invalid("body.logout_token", "The token was used already.")
            if said.sid is not None:  # of a login that is being ended now, too
                await use(session, issuer, f"ended:{said.sid}", ends)
            closed = await self._close(session, provider, said, asking)
        self._sessions.forget()
        return closed

    async def _vouched(
        self, provider: Provider, attempt: Attempt, query: Mapping[str, str]
    ) -> Claims:
        """What the provider says of who comes back."""
        metadata = await provider.metadata()
        issuer = query.get("iss", None if metadata.tells_issuer else metadata.issuer)
        if issuer != metadata.issuer:  # RFC 9207, 2.4
            raise _SaidNoError("The answer is another provider's.")
        if "error" in query:
            shown = "".join(c for c in query["error"][:_SHOWN] if c.isalnum() or c == "_")
            raise _SaidNoError(f"The provider said no: {shown}.")
        code = query.get("code", "")
        if not 0 < len(code) <= _CODE:
            raise _SaidNoError("The provider sent no code.")
        async with self.database.session() as session:
            ends = self.clock() + LIFETIME
            if not await use(session, metadata.issuer, f"login:{attempt.state}", ends):
                raise _ReplayedError
        granted = await provider.redeem(code, attempt.verifier, self._callback(provider.name))
        claims = await check_id_token(provider, granted.id_token, attempt.nonce, self.clock())
        more = await provider.userinfo(granted.access_token, str(claims["sub"]))
        return {**more, **claims}

    async def _let_in(self, arrived: Arrived) -> Open | Halfway:
        """What they are given, in one transaction with all that this login changes."""
        wanted = roles_by(arrived.provider.settings.rules, arrived.claims)
        wanted = {p: role for p, role in wanted.items() if p in self._projects}
        async with self.database.session() as session:
            if await has_ended(session, arrived.entry):
                raise UntrustedError("the session at the provider has ended")
            row, now = await self._binding.user_of(session, arrived), self.clock()
            changes = await rule(session, row.id, wanted, now)
            await change(session, row.id, now, retoken=bool(changes))
            await note_used(session, arrived, now)
            await self._tell_roles(session, row, changes, arrived)
            given = await self._open(session, row.id, arrived)
        self._sessions.forget()
        return given

    async def _open(self, session: AsyncSession, user_id: UUID, arrived: Arrived) -> Open | Halfway:
        """A session; where the provider is not trusted with that, a second factor comes before it."""
        asking, now = arrived.asking, self.clock()
        is_asked = arrived.provider.settings.second_factor == "ask"
        if is_asked and (held := await kinds(session, user_id)):
            asked = FactorAsked(user_id=user_id, address=asking.address)
            said = told(asked, now, subject=user_id, actor=SOURCE, request_id=asking.request_id)
            await say(session, said)
            row = await find(session, user_id)
            return await self._halves.begin(session, row, held, arrived.entry)
        await change(session, user_id, now, retoken=False, logged_in_at=now)
        opened = await self._sessions.open(session, user_id, asking, by_provider(now))
        await bind(session, opened, arrived.entry, self._sessions, asking)
        return opened

    async def _tell_roles(
        self, session: AsyncSession, row: Row[Any], changes: Changes, arrived: Arrived
    ) -> None:
        now, asking, actor = self.clock(), arrived.asking, f"oidc:{arrived.provider.name}"
        for project, (old, new) in changes.items():
            sides = [{"role": each and each.value} for each in (old, new)]
            changed = UserChanged(user_id=row.id, old=dict(sides[0]), new=dict(sides[1]))
            message = told(
                changed,
                now,
                subject=row.id,
                actor=actor,
                request_id=asking.request_id,
                project=project,
            )
            await say(session, message)

    async def _close(
        self, session: AsyncSession, provider: Provider, said: LoggedOut, asking: Asking
    ) -> int:
        theirs = PROVIDER_SESSIONS.c.issuer == provider.settings.issuer
        if said.subject is not None:
            theirs &= PROVIDER_SESSIONS.c.subject == said.subject
            await drop_halves(session, provider.settings.issuer, said.subject)
        if said.sid is not None:
            theirs &= PROVIDER_SESSIONS.c.sid == said.sid
        which: ColumnElement[bool] = SESSIONS.c.id.in_(
            select(PROVIDER_SESSIONS.c.session_id).where(theirs)
        )
        actor = f"oidc:{provider.name}"
        return await self._sessions.close(session, which, "provider", actor=actor, asking=asking)

    async def _refuse(
        self,
        name: str,
        why: Reason,
        asking: Asking,
        refusal: HostlerError,
        user_id: UUID | None = None,
    ) -> HostlerError:
        """The refusal, once the audit was told of it."""
        now: datetime = self.clock()
        refused = IdentityRefused(provider=name, why=why, user_id=user_id, address=asking.address)
        message = told(
            refused,
            now,
            subject=user_id or name,
            actor=f"oidc:{name}",
            request_id=asking.request_id,
        )
        async with self.database.session() as session:
            await say(session, message)
        return refusal

    def _provider(self, name: str) -> Provider:
        found = self.providers.get(name)
        if found is None:
            raise Terminal(ErrorCode.NOT_FOUND, "There is no such provider.")
        return found

    def _callback(self, name: str) -> str:
        return f"{self._public_url}/v1/auth/oidc/{name}/callback"


class _ReplayedError(Exception):
    """A login came back that had come back before."""


class _SaidNoError(Exception):
    """The provider, or who speaks for it, gave no code."""
