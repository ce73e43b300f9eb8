"""What tests of second factors share: people who have some, and the ways to come in with them."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from pyotp.totp import TOTP

from contracts.identity import Role
from services.gateway.context import Gateway
from tests.unit.gateway.identity.authenticator import Authenticator
from tests.unit.gateway.identity.world import ADA, bearer, log_in, make_user, nobody, try_login


@dataclass
class Person:
    """Somebody with an account, an app and perhaps a passkey."""

    gateway: Gateway
    id: UUID
    tokens: dict[str, Any]
    email: str = ADA
    secret: str = ""
    factor_id: str = ""
    codes: list[str] = field(default_factory=list[str])

    def code(self, steps: int = 0) -> str:
        """What the app shows, so many steps from now."""
        return TOTP(self.secret).at(self.gateway.clock(), counter_offset=steps)

    async def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        """With the newest access token."""
        async with bearer(self.gateway, self.tokens) as client:
            return await client.request(method, path, json=body)

    async def enrol(self, name: str = "phone", steps: int = 0) -> httpx.Response:
        """An app, whose first code confirms it; then the session's tokens are refreshed."""
        begun = await self.ask("POST", "/v1/me/factors/totp", {"name": name})
        assert begun.status_code == 201, begun.text
        self.secret, self.factor_id = begun.json()["secret"], begun.json()["id"]
        path = f"/v1/me/factors/{self.factor_id}/confirm"
        done = await self.ask("POST", path, {"code": self.code(steps)})
        assert done.status_code == 200, done.text
        self.codes = done.json()["recovery_codes"] or self.codes
        await self.renew()
        return done

    async def enrol_passkey(self, key: Authenticator, name: str = "laptop") -> httpx.Response:
        options = await self.ask("POST", "/v1/me/factors/passkey/options")
        assert options.status_code == 200, options.text
        made = key.create(options.json()["options"])
        return await self.ask("POST", "/v1/me/factors/passkey", {"name": name, "passkey": made})

    async def renew(self) -> None:
        async with nobody(self.gateway) as client:
            body = {"refresh_token": self.tokens["refresh_token"]}
            answer = await client.post("/v1/auth/refresh", json=body)
        assert answer.status_code == 200, answer.text
        self.tokens = answer.json()

    async def begin(self) -> dict[str, Any]:
        """The first half of a login."""
        answer = await try_login(self.gateway, self.email)
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def finish(self, half: dict[str, Any] | str, **proof: object) -> httpx.Response:
        """The second half."""
        token = half if isinstance(half, str) else half["mfa_token"]
        return await post(self.gateway, "/v1/auth/second-factor", mfa_token=token, **proof)

    async def step_up(self, **proof: object) -> httpx.Response:
        """The answer; the new access token is used from then on."""
        answer = await self.ask("POST", "/v1/auth/step-up", proof)
        if answer.status_code == 200:
            self.tokens = self.tokens | answer.json()
        return answer


async def person(
    gateway: Gateway,
    email: str = ADA,
    projects: dict[str, Role] | None = None,
    *,
    is_admin: bool = False,
) -> Person:
    """Somebody who has just logged in, with a password alone."""
    projects = {"demo": Role.ADMIN} if projects is None else projects
    user_id = await make_user(gateway, email, projects, is_admin=is_admin)
    return Person(gateway, user_id, await log_in(gateway, email), email)


async def post(gateway: Gateway, path: str, **body: object) -> httpx.Response:
    """Without a credential."""
    async with nobody(gateway) as client:
        return await client.post(path, json=body)


async def passkey_login(gateway: Gateway, key: Authenticator) -> httpx.Response:
    options = (await post(gateway, "/v1/auth/passkey/options")).json()["options"]
    return await post(gateway, "/v1/auth/passkey", passkey=key.get(options))
