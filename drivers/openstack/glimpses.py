"""A page of servers at a glance: told apart by what Nova says of each, and read only when asked to."""

import marshal
from functools import partial
from hashlib import blake2b
from typing import cast

from pydantic import BaseModel, Field, JsonValue

from drivers.base import Glimpse, Seen
from drivers.openstack.pages import Link, next_marker
from drivers.openstack.servers import id_of, readable, seen

_PLAIN_MARSHAL = 2
"""Of marshal's versions the last one that writes equal values equally: later ones write an object
that occurs twice as a reference, which depends on who else holds it."""


class _Page(BaseModel):
    servers: list[object]
    servers_links: list[Link] = Field(default_factory=list[Link])


def glance_page(content: bytes) -> tuple[list[Glimpse], str | None]:
    """The servers of one page, and the marker of the next; ValidationError if it is no page."""
    page = _Page.model_validate_json(content)
    return [_glimpse(item) for item in page.servers], next_marker(page.servers_links)


def _glimpse(item: object) -> Glimpse:
    # To marshal it and hash that costs a tenth of reading it.
    said = marshal.dumps(cast("JsonValue", item), _PLAIN_MARSHAL)
    return Glimpse(id_of(item), blake2b(said, digest_size=16).digest(), partial(_read, item))


def _read(item: object) -> Seen | None:
    server = readable(item)
    return None if server is None else seen(server)
