"""One provider: what it says about itself, its keys, and what it gives for a code."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar
from urllib.parse import urlencode

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from chassis.errors import Retry
from chassis.leases import Clock
from services.gateway.identity.oidc.claims import Claims
from services.gateway.identity.oidc.proof import UnusableKeyError, by_basic, by_key, by_post
from services.gateway.identity.oidc.settings import OidcProvider, is_safe
from services.gateway.identity.web import RETRY, Web

LOG = logging.getLogger(__name__)
BELIEVED = timedelta(hours=1)
APART = timedelta(seconds=30)
"""A key that is not known has the provider's keys read again no more often than this."""
_MAX_KEYS = 50
T = TypeVar("T")


class UntrustedError(Exception):
    """What came, or what it says, is not to be believed."""


class Metadata(BaseModel):
    """What is used of a provider's own description (OpenID Connect Discovery 1.0)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    id_token_signing_alg_values_supported: list[str] = ["RS256"]
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]
    tells_issuer: bool = Field(
        default=False, alias="authorization_response_iss_parameter_supported"
    )

    @property
    def endpoints(self) -> list[str]:
        """All of them."""
        named = (self.authorization_endpoint, self.token_endpoint, self.jwks_uri)
        return [*named, *[e for e in (self.userinfo_endpoint, self.end_session_endpoint) if e]]


class Granted(BaseModel):
    """What a provider gives for a code."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id_token: str = Field(max_length=65536)
    access_token: str | None = None


class Kept(Generic[T]):
    """Something that is read from a provider, once for all who wait, and believed for a while."""

    def __init__(self, read: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: tuple[T, datetime] | None = None
        self._failed: tuple[Retry, datetime] | None = None

    async def get(self, newer_than: timedelta = BELIEVED) -> T:
        """What it is; read again if that was longer ago. A failure is remembered for some seconds."""
        async with self._lock:
            now = self._clock()
            if self._known is not None and now - self._known[1] < newer_than:
                return self._known[0]
            if self._failed is not None and now - self._failed[1] < RETRY:
                raise self._failed[0]
            try:
                self._known = await self._read(), now
            except Retry as failure:
                self._failed = failure, now
                raise
            return self._known[0]


class Provider:
    """A provider as the settings name it. Whatever it cannot do now is Retry(UNAVAILABLE)."""

    def __init__(
        self,
        name: str,
        settings: OidcProvider,
        clock: Clock,
        timeout: timedelta,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.web = Web(f"The provider {name!r}", timeout, transport)
        self._clock = clock
        self._metadata = Kept(self._discover, clock)
        self._keys = Kept(self._read_keys, clock)

    async def metadata(self) -> Metadata:
        """What it says about itself."""
        return await self._metadata.get()

    async def keys(self, key_id: str | None) -> list[Key]:
        """Its keys of that id; all that it has, without one."""
        for age in (BELIEVED, APART):
            found = [key for key in await self._keys.get(age) if key_id in {None, key.kid}]
            if found:
                return found
        return []

    async def login_url(self, redirect_uri: str, **asked: str) -> str:
        """Where a browser begins."""
        endpoint = (await self.metadata()).authorization_endpoint
        said = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self.settings.scopes),
            "code_challenge_method": "S256",
            **asked,
        }
        return _with(endpoint, said)

    async def logout_url(self, back: str | None) -> str | None:
        """Where a browser ends its session at the provider; None if there is no such place."""
        endpoint = (await self.metadata()).end_session_endpoint
        if endpoint is None:
            return None
        said = {"client_id": self.settings.client_id}
        return _with(endpoint, said | ({"post_logout_redirect_uri": back} if back else {}))

    async def redeem(self, code: str, verifier: str, redirect_uri: str) -> Granted:
        """What it gives for a code; UntrustedError if it gives nothing."""
        metadata, headers = await self.metadata(), dict[str, str]()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
        }
        form |= self._proof(metadata)
        if self._is_basic(metadata):
            headers["Authorization"] = by_basic(self.settings)
        answer = await self.web.ask("POST", metadata.token_endpoint, headers=headers, form=form)
        if answer.body.get("error") == "invalid_client":
            LOG.error("the provider %s does not know this gateway by its proof", self.name)
            raise self.web.down("it does not know this gateway")
        if not answer.is_ok:
            raise UntrustedError("the code does not hold")
        try:
            return Granted.model_validate(answer.body)
        except ValidationError as error:
            raise UntrustedError("it gave no ID token") from error

    def _is_basic(self, metadata: Metadata) -> bool:
        by_secret = self.settings.client_key_file is None
        return by_secret and (
            "client_secret_basic" in metadata.token_endpoint_auth_methods_supported
        )

    def _proof(self, metadata: Metadata) -> dict[str, str]:
        """What the form says of who the gateway is."""
        if self._is_basic(metadata):
            return {}
        if self.settings.client_key_file is None:
            return by_post(self.settings)
        try:
            return by_key(self.settings, metadata.token_endpoint, self._clock())
        except (UnusableKeyError, OSError) as error:
            LOG.error("the key for the provider %s cannot be used: %s", self.name, error)  # noqa: TRY400
            raise self.web.down("this gateway has no usable key") from error

    async def userinfo(self, access_token: str | None, subject: str) -> Claims:
        """What it says besides about whom it gave the token for (OpenID Connect Core 5.3)."""
        endpoint = (await self.metadata()).userinfo_endpoint
        if not self.settings.userinfo or endpoint is None or access_token is None:
            return {}
        headers = {"Authorization": f"Bearer {access_token}"}
        answer = await self.web.ask("GET", endpoint, headers=headers)
        if not answer.is_ok or answer.body.get("sub") != subject:
            raise UntrustedError("what it says about the user is about somebody else")
        return answer.body

    async def _discover(self) -> Metadata:
        issuer = self.settings.issuer
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        answer = await self.web.ask("GET", url)
        try:
            read = Metadata.model_validate(answer.body)
        except ValidationError as error:
            raise self.web.down("its description cannot be read") from error
        scheme = issuer.partition(":")[0]
        safe = all(is_safe(e) and e.startswith(f"{scheme}:") for e in read.endpoints)
        if read.issuer != issuer or not safe:
            LOG.error("the provider %s describes itself as %s", self.name, read.issuer[:200])
            raise self.web.down("it says that it is another one")
        return read

    async def _read_keys(self) -> list[Key]:
        answer = await self.web.ask("GET", (await self.metadata()).jwks_uri)
        given = answer.body.get("keys")
        if not answer.is_ok or not isinstance(given, list):
            raise self.web.down("its keys cannot be read")
        return [key for each in given[:_MAX_KEYS] if (key := _key(each)) is not None]


def _key(given: JsonValue) -> Key | None:
    """A public key that signs; None for any other, which is no reason not to take the rest."""
    if not isinstance(given, dict) or given.get("use", "sig") != "sig":
        return None
    try:
        key = import_key({name: value for name, value in given.items() if isinstance(value, str)})
    except (JoseError, ValueError, KeyError, TypeError):
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) else None


def _with(endpoint: str, said: dict[str, str]) -> str:
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(said)}"
