"""The gateway's signature on a command: who asked for what of which VM, as it was permitted.

Ed25519 over everything that a record says but its trace: all `ce_*` headers (actor, project, VM,
operation, time, and the type, which names the permission), topic, key and body. It travels with the
record, so that a dead letter that is replayed still carries it. It has no age of its own: a command
is good until its deadline, which counts from the time that is signed, and the inbox takes it once.
"""

import base64
import binascii
import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chassis.telemetry import DISTRUSTED
from chassis.wire import SIGNATURE, Poison, Record, decode, encode
from contracts.message import Body, Message

LOG = logging.getLogger(__name__)
Seal = Callable[[Message[Body]], Message[Body]]
_PURPOSE = "hostler command 1"
_BYTES = 32


class Trust(StrEnum):
    """What becomes of a command whose signature does not hold."""

    OFF = "off"
    WARN = "warn"
    REQUIRE = "require"


class Unsigned(Poison):
    """A command that the gateway did not sign as it stands there; its text says what is wrong."""


class Signer:
    """Signs commands. `seed`: the 32 bytes of an Ed25519 private key."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        raw = self._key.public_key().public_bytes_raw()
        self.public_key = _written(raw)
        self.key_id = _key_id(raw)

    def seal(self, message: Message[Body]) -> Message[Body]:
        """The same message with its signature."""
        signed = _written(self._key.sign(_statement(encode(message))))
        return message.model_copy(update={"signature": f"{self.key_id}.{signed}"})


@dataclass(frozen=True)
class _Known:
    key: Ed25519PublicKey
    until: datetime | None


class Keyring:
    """The public keys by which commands are known to be the gateway's.

    Each is written `KEY`, or `KEY until 2026-12-01T00:00:00Z`: a command of a later time is refused.
    A key that leaked is left out instead: whoever has it writes what time they like.
    """

    def __init__(self, written: Iterable[str]) -> None:
        self._known = dict(_read(each) for each in written)

    def __bool__(self) -> bool:
        return bool(self._known)

    def why_not(self, record: Record) -> str:
        """What is wrong with a record's signature; empty if it holds."""
        key_id, _, signed = record.headers.get(SIGNATURE, "").partition(".")
        if not key_id:
            return "it is not signed"
        known = self._known.get(key_id)
        if known is None:
            return "it is signed with a key that is not trusted here"
        try:
            known.key.verify(raw_of(signed), _statement(record))
        except (InvalidSignature, ValueError):
            return "its signature is not of what it says"
        return "" if known.until is None or _said_at(record) <= known.until else "its key is over"


def sealed(keys: Keyring, trust: Trust) -> Callable[[Record], Message[Body]]:
    """A reader of records that the gateway signed; what else there is, is as `trust` says."""

    def read(record: Record) -> Message[Body]:
        if trust is not Trust.OFF and (reason := keys.why_not(record)):
            DISTRUSTED.labels(record.topic, trust).inc()
            if trust is Trust.REQUIRE:
                raise Unsigned(f"refused: {reason}")
            place = f"{record.topic}/{record.partition}@{record.offset}"
            LOG.warning("%s is believed although %s", place, reason)
        return decode(record)

    return read


def raw_of(text: str) -> bytes:
    """Bytes in base64, with `+/` or `-_`, padded or not; ValueError if it is none."""
    plain = text.strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        padded = plain.encode("ascii") + b"=" * (-len(plain) % 4)
        return base64.b64decode(padded, b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("is not base64") from error


def seed_of(text: str) -> bytes:
    """The 32 bytes of a private key in base64; ValueError if it is none."""
    if len(raw := raw_of(text)) != _BYTES:
        raise ValueError("is not 32 bytes in base64: `openssl rand -base64 32` makes a key")
    return raw


def _read(written: str) -> tuple[str, _Known]:
    """A public key by its id; ValueError if it is none."""
    text, _, until = written.partition(" until ")
    if len(raw := raw_of(text)) != _BYTES:
        raise ValueError("is not a public key: 32 bytes in base64")
    end = datetime.fromisoformat(until) if until else None
    if end is not None and end.tzinfo is None:
        raise ValueError("write times with their zone, as 2026-12-01T00:00:00Z")
    return _key_id(raw), _Known(Ed25519PublicKey.from_public_bytes(raw), end)


def _statement(record: Record) -> bytes:
    """What is signed: nothing of it can be moved, left out or read in two ways."""
    said = sorted((k, v) for k, v in record.headers.items() if _counts(k))
    digest = hashlib.sha256(record.value).hexdigest()
    return json.dumps([_PURPOSE, record.topic, record.key, said, digest]).encode()


def _counts(header: str) -> bool:
    return header.startswith(("ce_", "content-")) and header != SIGNATURE


def _said_at(record: Record) -> datetime:
    """Its time, which is signed; ValueError cannot be: the gateway wrote it."""
    return datetime.fromisoformat(record.headers["ce_time"])


def _key_id(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def _written(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
