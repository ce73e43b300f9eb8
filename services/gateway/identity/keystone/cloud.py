"""Asking Keystone about a token, with the gateway's own credentials (Identity API v3)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from chassis.errors import Retry, Terminal
from chassis.leases import Clock
from contracts.errors import ErrorCode
from services.gateway.identity.keystone.settings import KeystoneSettings
from services.gateway.identity.web import Answer, Web

MAX_LENGTH = 8192
AT_ONCE = 10
WAITING = 100
_EARLY = timedelta(minutes=1)
_UNAUTHORIZED = 401
_NO_SUCH_TOKEN = 404


class _Named(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = ""
    name: str


class _Project(_Named):
    domain: _Named


class KeystoneToken(BaseModel):
    """What Keystone says of a token. Without a project it is good for nothing here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    user: _Named
    project: _Project | None = None
    roles: list[_Named] = []
    expires_at: AwareDatetime
    is_domain: bool = False


class _Told(BaseModel):
    token: KeystoneToken


@dataclass(frozen=True)
class _Own:
    token: str
    until: datetime


class Keystone:
    """Keystone, asked by few at once: those who wait too long for their turn get a 503."""

    def __init__(
        self,
        url: str,
        settings: KeystoneSettings,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.web = Web("Keystone", settings.keystone_timeout, transport)
        self.clock = clock
        self._tokens = f"{url}/v3/auth/tokens"
        self._settings = settings
        self._own: _Own | None = None
        self._logging_in = asyncio.Lock()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def look(self, token: str) -> KeystoneToken | None:
        """What a token stands for; None if it is none. Retry(UNAVAILABLE) where nobody can say."""
        if self._waiting >= WAITING:
            raise Retry(ErrorCode.UNAVAILABLE, "Too many tokens at once.", after=_EARLY / 30)
        self._waiting += 1
        try:
            async with self._room:
                return await self._look(token)
        finally:
            self._waiting -= 1

    async def _look(self, token: str) -> KeystoneToken | None:
        own = await self._log_in(None)
        answer = await self._ask(token, own)
        if answer.status == _UNAUTHORIZED:  # ours was revoked
            answer = await self._ask(token, await self._log_in(own))
        if answer.status == _NO_SUCH_TOKEN:
            return None
        if not answer.is_ok:
            raise self.web.down(f"status {answer.status}")
        try:
            said = _Told.model_validate(answer.body).token
        except ValidationError as error:
            raise self.web.down("its answer cannot be read") from error
        return said

    async def _ask(self, token: str, own: _Own) -> Answer:
        headers = {"X-Auth-Token": own.token, "X-Subject-Token": token}
        return await self.web.ask("GET", f"{self._tokens}?nocatalog", headers=headers)

    async def _log_in(self, refused: _Own | None) -> _Own:
        """The gateway's own token; another one than Keystone has just `refused`."""
        async with self._logging_in:
            now, own = self.clock(), self._own
            if own is not None and own is not refused and now < own.until:
                return own
            answer = await self.web.ask("POST", self._tokens, content=self._credentials())
            token = answer.headers.get("x-subject-token", "")
            try:
                said = _Told.model_validate(answer.body).token if answer.is_ok and token else None
            except ValidationError:
                said = None
            if said is None:
                raise self.web.down("it does not take the gateway's own credentials")
            self._own = _Own(token, said.expires_at - _EARLY)
            return self._own

    def _credentials(self) -> Mapping[str, object]:
        s = self._settings
        if s.keystone_application_credential_id and s.keystone_application_credential_secret:
            secret = s.keystone_application_credential_secret.get_secret_value()
            given = {"id": s.keystone_application_credential_id, "secret": secret}
            identity = {"methods": ["application_credential"], "application_credential": given}
            return {"auth": {"identity": identity}}
        password = s.keystone_password.get_secret_value() if s.keystone_password else ""
        user = {
            "name": s.keystone_username,
            "domain": {"name": s.keystone_user_domain},
            "password": password,
        }
        project = {"name": s.keystone_project, "domain": {"name": s.keystone_project_domain}}
        return {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": project},
            }
        }


def require_token(text: str) -> str:
    """A token that may be sent on in a header; Terminal(UNAUTHENTICATED) for what is none."""
    if not 0 < len(text) <= MAX_LENGTH or not all("!" <= each <= "~" for each in text):
        raise Terminal(ErrorCode.UNAUTHENTICATED, "X-Auth-Token holds no token.")
    return text
