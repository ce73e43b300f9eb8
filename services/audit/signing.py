"""The key that checkpoints are signed with: Ed25519, as JSON Web Signatures (RFC 7515, RFC 9864)."""

import base64
import binascii
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import SecretStr

ALGORITHM = "Ed25519"
_BYTES = 32


class ForgedError(ValueError):
    """A signature that does not hold, or is of a key that is not trusted; its text says which."""


class Signer:
    """Signs with one key; trusts that one and `former` ones, given by their public halves."""

    def __init__(self, seed: bytes, former: Iterable[str] = ()) -> None:
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        self._key = _key(x=_written(public), d=_written(seed))
        self.key_id = self._key.thumbprint()
        trusted = [_key(x=_written(public)), *[_key(x=_written(_raw(each))) for each in former]]
        self._trusted = {key.thumbprint(): key for key in trusted}

    def sign(self, claims: Mapping[str, object]) -> str:
        """`claims` as a compact JWS."""
        header = {"alg": ALGORITHM, "kid": self.key_id}
        text = json.dumps(claims, sort_keys=True, separators=(",", ":"))
        return jws.serialize_compact(header, text.encode(), self._key, algorithms=[ALGORITHM])

    def read(self, signed: str) -> dict[str, object]:
        """What was signed; ForgedError unless a trusted key signed it."""
        try:
            key_id = jws.extract_compact(signed.encode()).headers().get("kid", "")
            key = self._trusted.get(str(key_id))
            if key is None:
                raise ForgedError(f"it is signed with a key that is not trusted here: {key_id}")
            payload = jws.deserialize_compact(signed, key, algorithms=[ALGORITHM]).payload
            return cast("dict[str, object]", json.loads(payload))
        except (JoseError, ValueError) as error:
            if isinstance(error, ForgedError):
                raise
            raise ForgedError("its signature does not hold") from error

    def public_keys(self) -> list[dict[str, str]]:
        """The keys that are trusted, as JWKs (RFC 8037), the one that signs first."""
        return [
            {"kty": "OKP", "crv": ALGORITHM, "x": str(key.as_dict()["x"]), "kid": key_id}
            for key_id, key in self._trusted.items()
        ]


def _key(**parts: str) -> OKPKey:
    return OKPKey.import_key({"kty": "OKP", "crv": ALGORITHM, **parts})


def _written(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _raw(text: str) -> bytes:
    """The 32 bytes of a key in base64, with `+/` or `-_`; ValueError if it is none."""
    plain = text.strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        raw = base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("is not base64: `openssl rand -base64 32` makes a key") from error
    if len(raw) != _BYTES:
        raise ValueError("is not 32 bytes in base64: `openssl rand -base64 32` makes a key")
    return raw


def require_key(text: SecretStr) -> SecretStr:
    """The same text if it is a key; else ValueError."""
    _raw(text.get_secret_value())
    return text


def require_keys(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The same for public keys."""
    for text in texts:
        _raw(text)
    return texts


def open_signer(key: SecretStr | None, file: Path, former: Iterable[str] = ()) -> Signer:
    """The signer with the key that is given, else with the one in `file`, made if there is none."""
    return Signer(_raw(key.get_secret_value() if key else _kept(file)), former)


def _kept(file: Path) -> str:
    """The key in a file. Of two who make it at once, both get the one that came first."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        mine = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        mine.touch(mode=0o600)
        mine.write_text(secrets.token_urlsafe(_BYTES))
        with suppress(FileExistsError):
            os.link(mine, file)
        mine.unlink()
    return file.read_text()
