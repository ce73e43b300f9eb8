"""Secrets that one service alone may read: HPKE (RFC 9180) to its public key, bound to one purpose.

DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM in base mode: a key of its own for each box,
wrapped for whoever holds the private key. What it is bound to (`info`) is not in the box, and without
the same nothing opens it: a box that was moved elsewhere is worth nothing there.

`python -m chassis.sealing` makes a pair.
"""

import base64
import binascii
import sys
from collections.abc import Sequence
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_BYTES = 32
_ID = 16
_DERIVED = b"hostler sealing key"


class NoKeyError(LookupError):
    """A box that is sealed to a key that is not here; its text says to which."""


class BrokenBoxError(ValueError):
    """A box that was altered, or is bound to something else."""


class PublicKey:
    """What seals, and opens nothing."""

    def __init__(self, key: X25519PublicKey) -> None:
        self._key = key
        self.id = sha256(key.public_bytes_raw()).hexdigest()[:_ID]

    @classmethod
    def read(cls, text: str) -> "PublicKey":
        """A key of 32 bytes in base64; ValueError if it is none."""
        return cls(X25519PublicKey.from_public_bytes(raw_key(text)))

    @property
    def written(self) -> str:
        """The same as text."""
        return base64.b64encode(self._key.public_bytes_raw()).decode()

    def seal(self, plain: bytes, bound_to: str) -> str:
        """`KEY.BOX`: the key's id and what only its private half opens; another one each time."""
        box = _SUITE.encrypt(plain, self._key, bound_to.encode())
        return f"{self.id}.{base64.urlsafe_b64encode(box).decode()}"


class PrivateKeys:
    """What opens. The first is the one that is sealed to now; the others are of before."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        pairs = [X25519PrivateKey.from_private_bytes(key) for key in keys]
        self.public = [PublicKey(each.public_key()) for each in pairs]
        self._by_id = {p.id: each for p, each in zip(self.public, pairs, strict=True)}

    def open(self, sealed: str, bound_to: str) -> bytes:
        """What was sealed; NoKeyError, or BrokenBoxError if it is not as it was, or not of there."""
        key_id, _, box = sealed.partition(".")
        key = self._by_id.get(key_id)
        if key is None:
            raise NoKeyError(f"no key {key_id!r} is here, to which it is sealed")
        try:
            return _SUITE.decrypt(base64.urlsafe_b64decode(box), key, bound_to.encode())
        except (InvalidTag, ValueError) as error:
            raise BrokenBoxError("it was altered, or belongs elsewhere") from error


def derived(secret: str) -> bytes:
    """The private key that follows from a secret which both sides have (HKDF, RFC 5869)."""
    return HKDF(SHA256(), _BYTES, salt=None, info=_DERIVED).derive(secret.encode())


def raw_key(text: str) -> bytes:
    """The 32 bytes of a key in base64; ValueError if it is none."""
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("is not base64: `make sealing-key` makes keys") from error
    if len(raw) != _BYTES:
        raise ValueError("is not 32 bytes in base64: `make sealing-key` makes keys")
    return raw


def main() -> None:
    """Make a pair, and say where its halves go."""
    key = X25519PrivateKey.generate()
    private = base64.b64encode(key.private_bytes_raw()).decode()
    sys.stdout.write(f"HOSTLER_SEALING_KEYS={private}\n")
    sys.stdout.write(f"HOSTLER_SEALING_PUBLIC_KEY={PublicKey(key.public_key()).written}\n")


if __name__ == "__main__":
    main()
