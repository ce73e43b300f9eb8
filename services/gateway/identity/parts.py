"""Identity put together: what knows users, their sessions and the tokens that they come with."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.leases import Clock
from chassis.outbox import say
from chassis.service import Service
from contracts.access.identity import UserInvited
from services.gateway.identity.accounts.credentials import Credentials
from services.gateway.identity.accounts.tokens import ServiceTokens
from services.gateway.identity.challenges import Challenges
from services.gateway.identity.factors import Factors
from services.gateway.identity.halfway import HalfLogins
from services.gateway.identity.keys import USED_EVERY, Keys
from services.gateway.identity.keystone.callers import KeystoneCallers
from services.gateway.identity.keystone.cloud import Keystone
from services.gateway.identity.letters import Letters
from services.gateway.identity.links import Links
from services.gateway.identity.login import Login
from services.gateway.identity.mail import Mailer, Shown, Smtp
from services.gateway.identity.methods import Evidence
from services.gateway.identity.oidc.arrival import Arrivals
from services.gateway.identity.oidc.attempts import Attempts
from services.gateway.identity.oidc.binding import Binding
from services.gateway.identity.oidc.provider import Provider
from services.gateway.identity.once import forget_used
from services.gateway.identity.passing import Passing
from services.gateway.identity.passkeys import Passkeys, Site
from services.gateway.identity.passwords import Passwords
from services.gateway.identity.post import Lifetimes, Post
from services.gateway.identity.proving import Proving, Ways
from services.gateway.identity.recovery import RecoveryCodes
from services.gateway.identity.saying import SOURCE, Aliases, told
from services.gateway.identity.sealing import Seal, derive
from services.gateway.identity.sessions import Open, Sessions
from services.gateway.identity.settings import IdentitySettings
from services.gateway.identity.signing import Keyring
from services.gateway.identity.stepup import Rules, StepUp
from services.gateway.identity.tables import CHALLENGES, LINKS, SESSIONS, SIGNING_KEYS
from services.gateway.identity.tokens import AccessTokens
from services.gateway.identity.totp import Totp
from services.gateway.identity.tries import at_codes, at_passwords
from services.gateway.identity.users import NewUser, add, find, memberships


@dataclass(frozen=True)
class Identity:
    """All that routes need to know who is asking."""

    database: Database
    clock: Clock
    settings: IdentitySettings
    aliases: Aliases
    passwords: Passwords
    keyring: Keyring
    tokens: AccessTokens
    sessions: Sessions
    links: Links
    post: Post
    login: Login
    passing: Passing
    factors: Factors
    step_up: StepUp
    arrivals: Arrivals
    credentials: Credentials
    service_tokens: ServiceTokens
    keystone: KeystoneCallers | None

    async def access_token(self, opened: Open) -> str:
        """An access token for a session, with what its user may do now."""
        return await self.token_of(opened.user_id, opened.id, opened.shown)

    async def token_of(self, user_id: UUID, session_id: UUID, shown: Evidence) -> str:
        """The same, for one whose user has shown this."""
        async with self.database.reading() as session:
            row = await find(session, user_id)
            projects = (await memberships(session, [row.id]))[row.id]
        bearer = self.tokens.bearer(
            row.id, session_id, row.version, projects, is_platform_admin=row.is_admin, shown=shown
        )
        return await self.tokens.sign(bearer)

    async def ensure_first_admin(self, session: AsyncSession) -> None:
        """Invite the platform's first admin, if the settings name one who was not invited yet."""
        email, now = self.settings.first_admin, self.clock()
        if email is None:
            return
        user_id = await add(session, NewUser(email, "", SOURCE, is_admin=True), now)
        if user_id is not None:
            invited = UserInvited(user_id=user_id, memberships={}, is_admin=True)
            await say(session, told(invited, now, subject=user_id, actor=SOURCE))
            await self.post.take(session, "invitation", email, user_id=user_id)

    async def tidy(self) -> None:
        """Drop what is over: links, sessions with their refresh tokens, keys that sign no more."""
        now = self.clock()
        async with self.database.session() as session:
            for table, ends in (
                (LINKS, LINKS.c.expires_at),
                (SESSIONS, SESSIONS.c.expires_at),
                (SIGNING_KEYS, SIGNING_KEYS.c.ends_at),
                (CHALLENGES, CHALLENGES.c.expires_at),
            ):
                await session.execute(delete(table).where(ends < now))
            await forget_used(session, now)


def put_together(
    service: Service,
    settings: IdentitySettings,
    key_cache: timedelta,
    show: Callable[[str], None],
    mailer: Mailer | None = None,
    *,
    projects: Collection[str] = (),
) -> Identity:
    """Identity as the settings say, for these projects. `show` is told the mails where there is no server to send them."""
    database, clock = service.database, service.clock
    secret = settings.internal_secret.get_secret_value()
    aliases = Aliases(derive(secret, "aliases"))
    passwords = Passwords(settings.password_memory)
    keyring = Keyring(
        database,
        Seal(derive(secret, "signing keys")),
        clock,
        lifetime=settings.signing_key_lifetime,
        token_lifetime=settings.access_token_lifetime,
        every=key_cache,
    )
    sessions = Sessions(
        database,
        derive(secret, "refresh tokens"),
        clock,
        lifetime=settings.session_lifetime,
        idle=settings.refresh_token_lifetime,
        cached_for=key_cache,
    )
    links = Links(derive(secret, "links"), settings.public_url, clock)
    post = Post(
        database,
        mailer or _mailer(settings, show),
        links,
        Letters(settings.public_url, settings.link_page),
        lifetimes=Lifetimes(settings.invitation_lifetime, settings.reset_lifetime),
        clock=service.shared_clock,
        federated_passwords=settings.federated_passwords,
    )
    challenges = Challenges(clock)
    ways = Ways(
        Totp(Seal(derive(secret, "second factors")), clock),
        RecoveryCodes(derive(secret, "recovery codes"), clock),
        Passkeys(_site(settings), challenges, clock),
    )
    proving = Proving(database, ways, at_codes(settings.lock_after), post, clock=clock)
    halves = HalfLogins(derive(secret, "half logins"), settings.public_url, challenges, clock)
    login = Login(
        database,
        passwords,
        sessions,
        aliases,
        proving=proving,
        halves=halves,
        post=post,
        tries=at_passwords(settings.lock_after),
        clock=clock,
    )
    rules = Rules(settings.step_up_actions, settings.step_up_age, settings.factors_required)
    return Identity(
        database=database,
        clock=clock,
        settings=settings,
        aliases=aliases,
        passwords=passwords,
        keyring=keyring,
        tokens=AccessTokens(keyring, settings.public_url, settings.access_token_lifetime, clock),
        sessions=sessions,
        links=links,
        post=post,
        login=login,
        passing=Passing(
            database,
            passwords,
            sessions,
            links,
            post,
            login=login,
            aliases=aliases,
            clock=clock,
            federated_passwords=settings.federated_passwords,
        ),
        factors=Factors(database, ways, sessions, post, clock=clock),
        step_up=StepUp(rules, sessions, login, proving, clock),
        arrivals=Arrivals(
            database,
            {
                name: Provider(name, each, clock, settings.oidc_timeout)
                for name, each in settings.oidc_providers.items()
            },
            Attempts(derive(secret, "oidc logins")),
            sessions,
            binding=Binding(links, post),
            halves=halves,
            public_url=settings.public_url,
            projects=projects,
            logged_out_url=settings.oidc_logged_out_url,
            clock=clock,
        ),
        credentials=Credentials(
            database, derive(secret, "client secrets"), aliases, clock, settings.lock_after
        ),
        service_tokens=ServiceTokens(
            database,
            keyring,
            settings.public_url,
            clock,
            lifetime=settings.service_token_lifetime,
            cached_for=key_cache,
        ),
        keystone=_keystone(database, settings, clock),
    )


async def upkeep(identity: Identity, keys: Keys) -> None:
    """Every minute: write down when keys were used, and drop what is over; until cancelled."""
    while True:
        await asyncio.sleep(USED_EVERY.total_seconds())
        await keys.note_used()
        await identity.tidy()


def _site(settings: IdentitySettings) -> Site:
    public = urlsplit(settings.public_url)
    origins = tuple(settings.passkey_origins) or (f"{public.scheme}://{public.netloc}",)
    return Site(settings.passkey_domain or public.hostname or "", origins)


def _keystone(
    database: Database, settings: IdentitySettings, clock: Clock
) -> KeystoneCallers | None:
    if settings.keystone_url is None:
        return None
    keystone = Keystone(settings.keystone_url, settings, clock)
    return KeystoneCallers(database, keystone, settings, clock)


def _mailer(settings: IdentitySettings, show: Callable[[str], None]) -> Mailer:
    if settings.smtp_url is None:
        return Shown(show)
    return Smtp(settings.smtp_url.get_secret_value(), settings.mail_from)
