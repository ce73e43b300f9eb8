"""What tests of identity share: people with accounts, a letter box, and clients with tokens."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

import httpx
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.mail import Letter
from services.gateway.identity.users import NewUser, add, change

CHEAP = 19456
PASSWORD = "kettle-otter-sunday-19"
ANOTHER = "velvet-anchor-monday-77"
ADA, BOB, EVE = "ada@example.org", "bob@example.org", "eve@example.org"


class Postbox:
    """Takes mails, unless it is broken."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.breaks: list[Exception] = []

    async def send(self, letter: Letter) -> None:
        if self.breaks:
            raise self.breaks.pop(0)
        self.letters.append(letter)

    def token(self) -> str:
        """Of the link in the newest letter."""
        found = re.search(r'"token": "([^"]+)"', self.letters[-1].text)
        assert found is not None, self.letters[-1].text
        return found[1]


def postbox(gateway: Gateway) -> Postbox:
    """Have a gateway's mail put here."""
    made = Postbox()
    gateway.identity.post.mailer = made
    return made


async def deliver(gateway: Gateway) -> None:
    """Send all mail that is due."""
    while await gateway.identity.post.send_next():
        pass


@cache
def hashed(password: str) -> str:
    return PasswordHash((Argon2Hasher(3, CHEAP, 1),)).hash(password)


async def make_user(
    gateway: Gateway,
    email: str,
    projects: Mapping[str, Role] | None = None,
    *,
    is_admin: bool = False,
    password: str = PASSWORD,
) -> UUID:
    """Somebody with an account that they can use."""
    now = gateway.clock()
    new = NewUser(email, "", "test", is_admin, projects or {})
    async with gateway.database.session() as session:
        user_id = await add(session, new, now)
        assert user_id is not None
        values = {"state": "active", "password": hashed(password)}
        await change(session, user_id, now, retoken=False, **values)
    return user_id


async def try_login(gateway: Gateway, email: str = ADA, password: str = PASSWORD) -> httpx.Response:
    async with nobody(gateway) as client:
        body = {"email": email, "password": password}
        return await client.post("/v1/auth/login", json=body)


async def log_in(gateway: Gateway, email: str = ADA, password: str = PASSWORD) -> dict[str, Any]:
    """The tokens."""
    answer = await try_login(gateway, email, password)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refresh(gateway: Gateway, tokens: Mapping[str, Any]) -> httpx.Response:
    async with nobody(gateway) as client:
        body = {"refresh_token": tokens["refresh_token"]}
        return await client.post("/v1/auth/refresh", json=body)


def nobody(gateway: Gateway) -> httpx.AsyncClient:
    return _client(gateway, {})


def bearer(
    gateway: Gateway, tokens: Mapping[str, Any] | str, project: str | None = None
) -> httpx.AsyncClient:
    """A client with an access token, acting in a project."""
    token = tokens if isinstance(tokens, str) else tokens["access_token"]
    chosen = {} if project is None else {"X-Project-Id": project}
    return _client(gateway, {"Authorization": f"Bearer {token}", **chosen})


def _client(gateway: Gateway, headers: Mapping[str, str]) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(gateway.app), base_url="http://gateway", headers=headers
    )
