"""What the gateway is told about users, their sessions and the mail that they get."""

import re
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from contracts.identity import Role, Scope
from services.gateway.identity.accounts.settings import AccountSettings
from services.gateway.identity.emails import Email
from services.gateway.identity.keystone.settings import KeystoneSettings
from services.gateway.identity.oidc.settings import OidcSettings

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_MAIL = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


def _require_web(url: str) -> str:
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise ValueError("begin it with https:// (or http://) and a host")
    return url.rstrip("/")


def _require_smtp(url: SecretStr) -> SecretStr:
    parts = urlsplit(url.get_secret_value())
    if parts.scheme not in _MAIL or not parts.hostname:
        raise ValueError("write smtp://, smtp+starttls:// or smtps:// with [USER:PASSWORD@]HOST")
    return url


WebUrl = Annotated[str, AfterValidator(_require_web)]


def _require_domain(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", name):
        raise ValueError("write a domain like example.org")
    return name


class IdentitySettings(OidcSettings, KeystoneSettings, AccountSettings):
    """`HOSTLER_*` variables about identity."""

    registration: Literal["closed", "invitation", "open"] = Field(
        default="closed",
        description="Who makes users: admins of the platform (`closed`), admins of projects too, for "
        "theirs (`invitation`), anybody for themselves (`open`), without a project to begin with.",
    )
    first_admin: Email | None = Field(
        default=None,
        description="E-mail address of the platform's first admin, who is invited at start.",
    )
    public_url: WebUrl = Field(
        default="http://127.0.0.1:8000",
        description="Where callers reach the gateway; also the issuer of access tokens.",
    )
    link_page: WebUrl | None = Field(
        default=None,
        description="A page that asks for what a link is for; mails then hold its address with "
        "`#purpose=…&token=…` behind it. Without one they tell the API's call.",
    )
    smtp_url: Annotated[SecretStr, AfterValidator(_require_smtp)] | None = Field(
        default=None,
        description="`smtp+starttls://USER:PASSWORD@HOST:587`; `smtps://` is TLS at once, `smtp://` "
        "uses it if the server offers it. Without one mails are printed to stderr.",
    )
    mail_from: Email = Field(default="hostler@hostler.local", description="Sender of mails.")
    invitation_lifetime: timedelta = Field(default=7 * DAY, gt=timedelta(0), le=30 * DAY)
    reset_lifetime: timedelta = Field(
        default=HOUR,
        gt=timedelta(0),
        le=DAY,
        description="How long other links than invitations work.",
    )
    password_memory: int = Field(
        default=65536,
        ge=19456,
        description="KiB that hashing a password takes (argon2id); hashes follow at the next login.",
    )
    lock_after: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Wrong passwords in a row after which an account is locked: 30 s, then twice as "
        "long with each further one, at most 15 minutes.",
    )
    access_token_lifetime: timedelta = Field(default=10 * MINUTE, ge=MINUTE, le=HOUR)
    refresh_token_lifetime: timedelta = Field(
        default=7 * DAY, description="A session that is not refreshed for this long is over."
    )
    session_lifetime: timedelta = Field(
        default=30 * DAY, description="The longest that a login lasts, however often refreshed."
    )
    signing_key_lifetime: timedelta = Field(
        default=30 * DAY,
        ge=HOUR,
        description="How long a key signs access tokens before a new one does.",
    )
    step_up_actions: list[Scope] = Field(
        default=[
            "api_key.*",
            "factor.*",
            "service_account.*",
            "signing_key.*",
            "token_key.*",
            "user.*",
        ],
        description="Permissions whose use, but for reading, asks a user who has a second factor for "
        "a fresh one, as a JSON list.",
    )
    step_up_age: timedelta = Field(
        default=5 * MINUTE, ge=timedelta(seconds=30), le=DAY, description="How old is fresh."
    )
    factors_required: Role | None = Field(
        default=None,
        description="The least role that has to have a second factor: `admin` is admins, `viewer` "
        "everybody. Until they have enrolled one they may do nothing else.",
    )
    passkey_domain: Annotated[str, AfterValidator(_require_domain)] | None = Field(
        default=None,
        description="The domain that passkeys are for; by default the host of HOSTLER_PUBLIC_URL. "
        "Another one makes all passkeys worthless.",
    )
    passkey_origins: list[WebUrl] = Field(
        default=[],
        description="Origins of the pages that use passkeys, on that domain or below it, as a JSON "
        "list; by default HOSTLER_PUBLIC_URL's.",
    )
