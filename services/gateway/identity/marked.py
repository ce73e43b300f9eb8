"""Secrets that scanners know: by how they begin, and by a checksum that anybody can verify offline.

`hk_` (API keys) or `hs_` (secrets of service accounts), eight hexadecimal digits that are not secret,
`_`, 43 characters of base64url, and six of base 62: the CRC-32 of all before them. Keys that were made
earlier have no checksum, and work.
"""

import re
import secrets
import string
import zlib
from typing import Literal

Mark = Literal["hk", "hs"]
SHAPE = re.compile(r"(?:hk|hs)_[0-9a-f]{8}_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}")
SHOWN = len("hk_01234567")
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHECKSUM = 6


def make(mark: Mark) -> str:
    """A new one: 256 random bits."""
    text = f"{mark}_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"
    return text + checksum(text)


def checksum(text: str) -> str:
    """Of what stands before it."""
    rest, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM):
        rest, digit = divmod(rest, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def is_marked(text: str) -> bool:
    """Whether a text is such a secret, as far as can be told by looking at it."""
    return bool(SHAPE.fullmatch(text)) and checksum(text[:-_CHECKSUM]) == text[-_CHECKSUM:]
