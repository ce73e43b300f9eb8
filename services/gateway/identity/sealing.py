"""Keys that follow from the internal secret, one per purpose, and what is sealed with them at rest."""

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_LENGTH = 32


def derive(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose: they tell nothing of those for another (HKDF, RFC 5869)."""
    info = f"hostler gateway {purpose}".encode()
    return HKDF(SHA256(), _LENGTH, salt=None, info=info).derive(secret.encode())


class Seal:
    """Encrypts and authenticates what is stored (AES-CBC with HMAC, the Fernet format)."""

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def close(self, plain: bytes) -> bytes:
        """What may be stored."""
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes | None:
        """What was sealed; None if it was with another key, or is altered."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            return None
