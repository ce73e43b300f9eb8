"""A software authenticator with the browser around it: it makes passkeys and answers with them."""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

ORIGIN = "http://127.0.0.1:8000"
PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def written(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def read(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


@dataclass
class Authenticator:
    """One passkey. What an attacker would do otherwise are its fields."""

    origin: str = ORIGIN
    flags: int = PRESENT | VERIFIED
    count: int = 0
    counts: bool = True
    rp_id: str | None = None
    cross_origin: bool = False
    id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    user: bytes = b""

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """What `navigator.credentials.create()` gives."""
        self.user = read(options["user"]["id"])
        held = len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(self._public())
        data = self._data(options["rp"]["id"], self.flags | ATTESTED) + bytes(16) + held
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        response = {
            "clientDataJSON": written(self._client("webauthn.create", options["challenge"])),
            "attestationObject": written(attestation),
        }
        return self._credential(response)

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """What `navigator.credentials.get()` gives."""
        self.count += 1 if self.counts else 0
        data = self._data(options["rpId"], self.flags)
        client = self._client("webauthn.get", options["challenge"])
        signed = data + hashlib.sha256(client).digest()
        response = {
            "clientDataJSON": written(client),
            "authenticatorData": written(data),
            "signature": written(self.key.sign(signed, ec.ECDSA(SHA256()))),
            "userHandle": written(self.user),
        }
        return self._credential(response)

    def _data(self, rp_id: str, flags: int) -> bytes:
        rp = hashlib.sha256((self.rp_id or rp_id).encode()).digest()
        return rp + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin}
        return json.dumps(said | {"crossOrigin": self.cross_origin}).encode()

    def _public(self) -> dict[int, Any]:
        """The key as COSE has it (RFC 9053, 7.1)."""
        numbers = self.key.public_key().public_numbers()
        x, y = (each.to_bytes(32, "big") for each in (numbers.x, numbers.y))
        return {1: 2, 3: -7, -1: 1, -2: x, -3: y}

    def _credential(self, response: dict[str, str]) -> dict[str, Any]:
        named = written(self.id)
        return {
            "id": named,
            "rawId": named,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }
