"""How a user has shown that it is them: the methods, by their names in RFC 8176, and when it was."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

FactorKind = Literal["totp", "passkey"]
ProofKind = Literal["totp", "passkey", "recovery_code"]
PROVIDER = "fed"
"""Not in RFC 8176, which has no name for it, and in common use."""
PASSWORD = "pwd"  # noqa: S105 - the method's name
SEVERAL = "mfa"
METHODS: dict[ProofKind, tuple[str, ...]] = {
    "totp": ("otp",),
    "recovery_code": ("otp",),
    "passkey": ("pop", "user"),
}
"""`pop`: possession of a key. Whether it lies in hardware is not known: attestation is not asked for."""


@dataclass(frozen=True)
class Evidence:
    """What a session's user has shown, last at `at`."""

    amr: tuple[str, ...]
    at: datetime
    factor: ProofKind | None = None


def by_password(at: datetime) -> Evidence:
    """The password alone."""
    return Evidence((PASSWORD,), at)


def by_provider(at: datetime) -> Evidence:
    """A login at a provider, by whatever they ask for there: here nothing was shown."""
    return Evidence((PROVIDER,), at)


def by_factor(kind: ProofKind, at: datetime, before: tuple[str, ...] = ()) -> Evidence:
    """A factor, besides what was shown `before`; a passkey is several by itself, for it is unlocked."""
    return Evidence(tuple(dict.fromkeys((*before, *METHODS[kind], SEVERAL))), at, kind)
