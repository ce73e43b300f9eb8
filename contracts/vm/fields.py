"""The field types that VM commands share, with the limits of Nova's API and Hostler's own."""

import base64
import binascii
import re
import unicodedata
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MARK = "hostler:"
"""What the tags begin with by which Hostler knows its servers; callers may not use it."""

_METADATA_KEY = re.compile(r"[a-zA-Z0-9\-_:. ]{1,255}")


def _printable(text: str, *, allow: str = "") -> str:
    """`text` in NFC; ValueError on control, format, surrogate and unassigned characters."""
    bad = [
        c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Cn"} and c not in allow
    ]
    if bad:
        raise ValueError(f"holds the invisible or unprintable character U+{ord(bad[0]):04X}")
    return unicodedata.normalize("NFC", text)


def _name(text: str) -> str:
    if text != text.strip():
        raise ValueError("begins or ends with white space")
    return _printable(text)


def _prose(text: str) -> str:
    return _printable(text, allow="\n\t\r")


def _tag(text: str) -> str:
    if re.search(r"[/,]", text):
        raise ValueError("a tag may hold neither '/' nor ',' (Nova API 2.26)")
    if text.startswith(MARK):
        raise ValueError(f"tags that begin with '{MARK}' are Hostler's own")
    return _name(text)


def _unique(tags: list[str]) -> list[str]:
    if len(set(tags)) != len(tags):
        raise ValueError("holds the same tag twice")
    return sorted(tags)


def _metadata(items: dict[str, str]) -> dict[str, str]:
    for key in items:
        if not _METADATA_KEY.fullmatch(key):
            raise ValueError(f"the key {key!r} is not 1 to 255 of a-z A-Z 0-9 - _ : . and space")
    return items


def _user_data(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("is not base64: send the output of `base64 -w0 FILE`") from error
    return text


Name = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_name)]
Reference = Annotated[
    str, Field(min_length=1, max_length=255, description="An id or a name."), AfterValidator(_name)
]
ServerId = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="The cloud's own id of it."),
]
Description = Annotated[str, Field(max_length=255), AfterValidator(_printable)]
Tag = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_tag)]
Tags = Annotated[
    list[Tag],
    Field(max_length=48, description="At most 48: two of Nova's 50 are Hostler's."),
    AfterValidator(_unique),
]
MetadataValue = Annotated[str, Field(max_length=255), AfterValidator(_prose)]
Metadata = Annotated[dict[str, MetadataValue], Field(max_length=128), AfterValidator(_metadata)]
UserData = Annotated[
    str,
    Field(max_length=65535, description="Base64, at most 65,535 characters (Nova's limit)."),
    AfterValidator(_user_data),
]


class Sealed(BaseModel):
    """A secret on its way to the one service that can open it (chassis/sealing)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    box: str = Field(description="`KEY.BOX`: the key's id, and what its private half opens.")
    length: int = Field(description="Of what is inside, in bytes.")
    digest: str = Field(description="HMAC-SHA-256 of that in hex, by a key of the gateway.")

    @staticmethod
    def binding(vm_id: UUID, operation_id: UUID) -> str:
        """What a box is bound to: it opens for no other VM, and in no other operation."""
        return f"hostler user_data {vm_id} {operation_id}"
