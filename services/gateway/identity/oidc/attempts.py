"""A login that was begun: sealed in a cookie, so that only the browser that began it can end it."""

import hmac
import json
import secrets
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from services.gateway.identity.sealing import Seal

LIFETIME = timedelta(minutes=10)
MAX_LENGTH = 4096


@dataclass(frozen=True)
class Attempt:
    """What was sent to a provider, and what was kept back."""

    provider: str
    state: str
    nonce: str
    verifier: str
    until: float
    """In seconds since the epoch."""

    @property
    def challenge(self) -> str:
        """Of the verifier, by S256 (RFC 7636, 4.2)."""
        digest = sha256(self.verifier.encode()).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode()

    def is_of(self, provider: str, state: str, now: datetime) -> bool:
        """Whether it is this one that comes back, and in time."""
        same = hmac.compare_digest(self.state.encode(), state.encode())
        return same and self.provider == provider and now.timestamp() < self.until


def begun(provider: str, now: datetime) -> Attempt:
    """A new one."""
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    return Attempt(provider, state, nonce, verifier, (now + LIFETIME).timestamp())


class Attempts:
    """Writes and reads the cookie, without the padding, for which it would stand in quotes."""

    def __init__(self, key: bytes) -> None:
        self._seal = Seal(key)

    def write(self, attempt: Attempt) -> str:
        """What the cookie holds."""
        return self._seal.close(json.dumps(asdict(attempt)).encode()).decode().rstrip("=")

    def read(self, cookie: str | None) -> Attempt | None:
        """What was written; None if it was not here, or is altered."""
        if cookie is None or len(cookie) > MAX_LENGTH or not cookie.isascii():
            return None
        plain = self._seal.open((cookie + "=" * (-len(cookie) % 4)).encode())
        return Attempt(**json.loads(plain)) if plain is not None else None
