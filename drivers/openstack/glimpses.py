"""A page of servers at a glance: told apart by the text that Nova says of each, read when asked to.

Where a server begins and ends in the text of a page is known without parsing it if it is one that
was seen before: what is as long and has the same hash is the same JSON. So a page of servers that
are as they were costs a hash of its text, a third of parsing it.
"""

import json
import re
from functools import partial
from hashlib import blake2b

from pydantic import BaseModel, Field

from drivers.base import Fingerprints, Glimpse, Seen
from drivers.openstack.pages import Link, next_marker
from drivers.openstack.servers import id_of, readable, seen

_BEGIN = re.compile(r'\s*\{\s*"servers"\s*:\s*\[\s*')
_BETWEEN = re.compile(r"\s*(?:,\s*(?![\s\]])|(?=\]))")
_ID = re.compile(r'"id"\s*:\s*"([^"\\]*)"')
_HASH_BYTES = 16
_DECODER = json.JSONDecoder()


class _Rest(BaseModel):
    servers: list[object] = Field(max_length=0)
    servers_links: list[Link] = Field(default_factory=list[Link])


def glance_page(content: bytes, known: Fingerprints) -> tuple[list[Glimpse], str | None]:
    """The servers of one page, and the marker of the next; ValueError if it is no page."""
    text, at = _begun(content.decode())
    glimpses: list[Glimpse] = []
    while not text.startswith("]", at):
        glimpse, end = _next(text, at, known)
        glimpses.append(glimpse)
        between = _BETWEEN.match(text, end)
        if between is None:
            raise ValueError("no list of servers")
        at = between.end()
    rest = _Rest.model_validate_json('{"servers": [' + text[at:])
    return glimpses, next_marker(rest.servers_links)


def _begun(text: str) -> tuple[str, int]:
    """A page that begins with its servers, as Nova's do, and where the first of them stands."""
    begin = _BEGIN.match(text)
    if begin is None:
        page = _decoded(text, 0)[0]
        if not isinstance(page, dict):
            raise ValueError("no page of servers")
        text = json.dumps({"servers": None, **page})
        begin = _BEGIN.match(text)
    if begin is None:
        raise ValueError("no list of servers")
    return text, begin.end()


def _next(text: str, at: int, known: Fingerprints) -> tuple[Glimpse, int]:
    """The server that begins at `at`, and where it ends."""
    # The first id may be that of something else: a wrong guess costs a hash, and no more.
    named = _ID.search(text, at)
    before = known(named[1]) if named is not None else None
    if named is not None and before is not None:
        end = at + int.from_bytes(before[_HASH_BYTES:])
        said = text[at:end]
        if fingerprint(said) == before:
            return Glimpse(named[1], before, partial(_read_text, said)), end
    item, end = _decoded(text, at)
    return Glimpse(id_of(item), fingerprint(text[at:end]), partial(_read, item)), end


def fingerprint(said: str) -> bytes:
    """A hash of a server's JSON, and its length."""
    hashed = blake2b(said.encode(), digest_size=_HASH_BYTES).digest()
    return hashed + len(said).to_bytes(4)


def _decoded(text: str, at: int) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _read_text(said: str) -> Seen | None:
    return _read(json.loads(said))


def _read(item: object) -> Seen | None:
    server = readable(item)
    return None if server is None else seen(server)
