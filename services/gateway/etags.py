"""ETags: a VM's revision, by which a client says which VM it means to change (RFC 9110, 13.1.1)."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header

from chassis.errors import Terminal
from chassis.problems import invalid
from contracts.errors import ErrorCode

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')


@dataclass(frozen=True)
class Tags:
    """What If-Match says: any existing one, or one of these."""

    any: bool
    tags: frozenset[str]


def etag(revision: int) -> str:
    """The strong ETag of a revision."""
    return f'"{revision}"'


def require_match(wanted: Tags | None, revision: int) -> None:
    """Terminal(PRECONDITION_FAILED) if the caller means another revision. Weak tags never match."""
    if wanted is not None and not wanted.any and etag(revision) not in wanted.tags:
        raise Terminal(ErrorCode.PRECONDITION_FAILED)


async def read_if_match(
    if_match: Annotated[
        str | None,
        Header(
            max_length=1024,
            description="The ETag that GET gave; 412 if the VM has changed since.",
            examples=['"3"'],
        ),
    ] = None,
) -> Tags | None:
    """The If-Match of a request; a 400 if it is no list of entity tags."""
    if if_match is None:
        return None
    if if_match.strip() == "*":
        return Tags(any=True, tags=frozenset())
    parts = [part.strip() for part in if_match.split(",")]
    if not all(_TAG.fullmatch(part) for part in parts):
        raise invalid("header.If-Match", 'Send an entity tag as it was given, e.g. "3", or *.')
    return Tags(any=False, tags=frozenset(parts))


IfMatch = Annotated[Tags | None, Depends(read_if_match)]
