"""Passwords: argon2id in a thread, never more than a few at once; weak and well-known ones are refused."""

import asyncio
import base64
import secrets
import unicodedata
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from zxcvbn_rs_py import zxcvbn

from chassis.errors import Retry
from chassis.problems import invalid
from contracts.errors import ErrorCode

T = TypeVar("T")
MIN_LENGTH, MAX_LENGTH = 12, 128
AT_ONCE = 2
"""Each one takes tens of megabytes, and a core."""
WAITING = 50
_TIME_COST = 3
_JUDGED = 32
_SYMBOLS = 6
"""The estimate's time grows with its length, and steeply with the kinds of symbols in it that may
stand for letters. No list has a password with this many."""
_GOOD = 8.0
"""Guesses, as a power of ten; breached passwords, and what is made of them, are tried first."""


class Passwords:
    """Hashes and compares. `memory`: KiB for each."""

    def __init__(self, memory: int) -> None:
        self.hashing = PasswordHash((Argon2Hasher(_TIME_COST, memory, 1),))
        self._nobodys = _nobodys(memory)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """What is stored."""
        return await self._in_turn(lambda: self.hashing.hash(_normal(password)))

    async def check(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Whether it is the one, and what is to be stored instead where the cost has changed.

        Without anything to compare with the work is the same, and the answer no.
        """
        known = stored or self._nobodys

        def compare() -> tuple[bool, str | None]:
            return self.hashing.verify_and_update(_normal(password), known)

        right, better = await self._in_turn(compare)
        return (right, better) if stored else (False, None)

    async def require_good(self, password: str, *own: str) -> None:
        """A 400 for one that is too short, too long or easily guessed; `own`: name, e-mail address."""
        plain = _normal(password)
        if not MIN_LENGTH <= len(plain) <= MAX_LENGTH:
            said = f"Takes {MIN_LENGTH} to {MAX_LENGTH} characters."
            raise invalid("body.password", said)
        known = [*own, *[each.partition("@")[0] for each in own], "hostler"]
        if not await self._in_turn(lambda: _is_good(plain, known)):
            said = "Is too easy to guess: it is on lists of breached passwords, or much like one."
            raise invalid("body.password", said)

    async def _in_turn(self, work: Callable[[], T]) -> T:
        """Do it in a thread, where there is room. A caller who goes away leaves none earlier."""
        if self._waiting >= WAITING:
            raise Retry(
                ErrorCode.UNAVAILABLE, "Too many logins at once.", after=timedelta(seconds=2)
            )
        self._waiting += 1
        return await asyncio.shield(asyncio.create_task(self._do(work)))

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            async with self._room:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def _normal(password: str) -> str:
    """The same on every keyboard (NIST SP 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def _is_good(password: str, known: list[str]) -> bool:
    judged = password[:_JUDGED]
    if len({each for each in judged if not each.isalnum()}) >= _SYMBOLS:
        return True
    return zxcvbn(judged, [each[:_JUDGED] for each in known]).guesses_log10 >= _GOOD


def _nobodys(memory: int) -> str:
    """A hash that no password has, for accounts that are not there: comparing takes as long."""
    salt, tag = (_written(secrets.token_bytes(length)) for length in (16, 32))
    return f"$argon2id$v=19$m={memory},t={_TIME_COST},p=1${salt}${tag}"


def _written(raw: bytes) -> str:
    return base64.b64encode(raw).rstrip(b"=").decode()
