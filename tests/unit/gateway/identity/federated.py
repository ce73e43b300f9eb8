"""A provider of identities in memory, which says what a test has it say, and logins by it."""

import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from chassis.testing import VirtualClock
from services.gateway.context import Gateway
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.world import CHEAP, nobody

ISSUER = "https://id.example.org"
SECRET = "s3cret-of-the-client-0123456789abcdef"
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
RULES = [
    {"claim": "groups", "equals": "ops", "project": "demo", "role": "operator"},
    {"claim": "groups", "equals": "chiefs", "project": "demo", "role": "admin"},
    {"claim": "groups", "equals": "ops", "project": "nowhere", "role": "admin"},
]


def forged(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """What no library signs: with HMAC by a secret that is none, or not at all."""
    parts = [urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in (header, claims)]
    text = b".".join(parts)
    mark = hmac.digest(secret, text, "sha256") if secret else b""
    return (text + b"." + urlsafe_b64encode(mark).rstrip(b"=")).decode()


class Fake(httpx.AsyncBaseTransport):
    """A provider in memory, which says what a test has it say."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.shown: list[RSAKey | ECKey] = [self.key]
        self.signed_with: Any = self.key
        self.forges_with: bytes | None = None
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "one"}
        self.claims: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.groups: list[str] = ["ops"]
        self.asked: list[str] = []
        self.nonce = ""
        self.is_down = False
        self.userinfo: dict[str, Any] = {}
        self.redeemed: dict[str, str] = {}
        self.authorization: str | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        if self.is_down:
            raise httpx.ConnectError("gone")
        match path:
            case "/.well-known/openid-configuration":
                return httpx.Response(200, json=self._metadata())
            case "/jwks":
                shown = [key.as_dict(private=False) for key in self.shown]
                return httpx.Response(200, json={"keys": [{"kty": "odd"}, *shown]})
            case "/userinfo":
                return httpx.Response(200, json={"sub": "s-1", **self.userinfo})
            case _:
                self.redeemed = dict(parse_qsl(request.content.decode()))
                self.authorization = request.headers.get("authorization")
                token = self.sign({"nonce": self.nonce, "groups": self.groups})
                return httpx.Response(200, json={"id_token": token, "access_token": "at"})

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/auth",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/jwks",
            "userinfo_endpoint": f"{ISSUER}/userinfo",
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
            **self.metadata,
        }

    def sign(self, more: dict[str, Any]) -> str:
        now = int(self.clock().timestamp())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": "hostler",
            "sub": "s-1",
            "iat": now,
            "exp": now + 300,
        }
        claims |= {"email": "ada@example.org", "email_verified": True, **more, **self.claims}
        claims = {name: value for name, value in claims.items() if value is not None}
        algorithms = ["RS256", "ES256", "HS256"]
        if self.forges_with is not None:
            return forged(self.header, claims, self.forges_with)
        return jwt.encode(self.header, claims, self.signed_with, algorithms=algorithms)


async def federated(
    new_gateway: NewGateway, fake: Fake, *, public_url: str = "http://127.0.0.1:8000", **how: object
) -> Gateway:
    """A gateway whose users come by that provider."""
    provider: dict[str, object] = {"issuer": ISSUER, "client_id": "hostler", "rules": RULES, **how}
    if "client_key_file" not in how:
        provider["client_secret"] = SECRET
    made = await new_gateway(
        password_memory=CHEAP, public_url=public_url, oidc_providers={"corp": provider}
    )
    made.identity.arrivals.providers["corp"].web.transport = fake
    return made


async def enter(gateway: Gateway, fake: Fake, *, nonce: str | None = None) -> httpx.Response:
    async with nobody(gateway) as using:
        sent = await using.get("/v1/auth/oidc/corp/login")
        assert sent.status_code == 303, sent.text
        query = parse_qs(urlsplit(sent.headers["location"]).query)
        fake.nonce = query["nonce"][0] if nonce is None else nonce
        params = {"state": query["state"][0], "code": "c"}
        return await using.get("/v1/auth/oidc/corp/callback", params=params)


async def log_out_there(gateway: Gateway, token: str) -> int:
    """What a provider is answered that tells of a logout."""
    async with nobody(gateway) as using:
        path = "/v1/auth/oidc/corp/backchannel-logout"
        return (await using.post(path, data={"logout_token": token})).status_code
