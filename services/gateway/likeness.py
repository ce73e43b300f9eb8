"""Whether a request is the one that an Idempotency-Key was used for, by a digest with a key.

Without a key whoever reads the table could try out what was asked: `user_data` holds passwords.
"""

import hashlib
import hmac
from enum import StrEnum
from uuid import UUID

from chassis.problems import Refusal
from contracts.errors import ErrorCode
from services.gateway.idempotency import Key

_ID = 4
_CHANGED = (
    "The key was used, and since then the gateway's secret was changed. See what it was used for "
    "before you ask again with another one."
)
_PLAIN = hashlib.sha256().digest_size


class Likeness(StrEnum):
    """How a request is to the one before it."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"
    """The digest is of a key that is gone: nobody can tell any more."""


class Digests:
    """Makes and compares them: an id of the key, and HMAC-SHA-256 of Idempotency-Key and request."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._id = hmac.digest(key, b"id", "sha256")[:_ID]

    def of(self, key: Key, said: str) -> bytes:
        """What is stored. Two keys of one request have nothing in common."""
        whole = f"{key.project_id}\n{key.text}\n{said}".encode()
        return self._id + hmac.digest(self._key, whole, "sha256")

    def compare(self, digest: bytes, key: Key, said: str) -> Likeness:
        """Whether what was stored is of this request."""
        if len(digest) == _PLAIN:  # of a gateway that had no key; it is kept for a day at most
            return _like(digest, hashlib.sha256(said.encode()).digest())
        if digest[:_ID] != self._id:
            return Likeness.UNKNOWN
        return _like(digest, self.of(key, said))


def unlike(likeness: Likeness, operation_id: UUID | None = None) -> Refusal:
    """The refusal of what is not known to be the same; it names the operation, if that may be seen."""
    said = _CHANGED if likeness is Likeness.UNKNOWN else ""
    if operation_id is None:
        return Refusal(ErrorCode.KEY_REUSED, said)
    return Refusal(ErrorCode.KEY_REUSED, said, operation=str(operation_id))


def _like(one: bytes, other: bytes) -> Likeness:
    return Likeness.SAME if hmac.compare_digest(one, other) else Likeness.OTHER
