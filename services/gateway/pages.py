"""Keyset pages: a marker says behind which row a page begins, so that page 1,000 costs what page 1 does."""

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar, cast
from uuid import UUID

from fastapi import Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import Column, Row, Select, Uuid, literal, tuple_

from chassis.database import Instant
from chassis.problems import invalid

T = TypeVar("T")
_SEAL = 9

Limit = Annotated[int, Query(ge=1, le=1000, description="Rows of a page, at most.")]
Marker = Annotated[
    str | None,
    Query(
        max_length=4096,
        description="Where the page begins; follow `links.next` rather than to build one.",
    ),
]


class Links(BaseModel):
    """Where to go from a page."""

    self: str = Field(examples=["/v1/vms?limit=100"])
    next: str | None = Field(default=None, description="The next page; null on the last one.")


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    links: Links
    total: int | None = Field(
        default=None, description="How many there are in all; only with `total=true`."
    )


@dataclass(frozen=True)
class Order:
    """By what a list is sorted: a column, then the row's unique key."""

    name: str
    column: Column[Any]
    key: Column[Any]

    @property
    def descending(self) -> bool:
        """Whether the greatest comes first."""
        return self.name.startswith("-")

    def apply(self, query: Select[Any], place: "Place | None") -> Select[Any]:
        """Sort, and begin behind `place`."""
        columns = (self.column, self.key)
        if place is not None:
            query = query.where(self._behind(place))
        return query.order_by(*[c.desc() if self.descending else c.asc() for c in columns])

    def _behind(self, place: "Place") -> Any:
        here = tuple_(self.column, self.key)
        there = tuple_(literal(place.value, self.column.type), literal(place.key, self.key.type))
        return here < there if self.descending else here > there


@dataclass(frozen=True)
class Place:
    """The row behind which a page begins."""

    value: Any
    key: Any


class Markers:
    """Writes and reads markers. They are sealed: one that was not written here is refused."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    def write(self, order: Order, row: Row[Any]) -> str:
        """The marker of a page that begins behind `row`."""
        value, key = getattr(row, order.column.name), getattr(row, order.key.name)
        said = [order.name, _plain(value), _plain(key)]
        text = json.dumps(said, separators=(",", ":"), ensure_ascii=True).encode()
        return base64.urlsafe_b64encode(self._seal(text) + text).rstrip(b"=").decode()

    def read(self, order: Order, marker: str | None) -> Place | None:
        """Where a page begins; a 400 if the marker is not one, or is one of another order."""
        if marker is None:
            return None
        try:
            raw = base64.urlsafe_b64decode(marker.encode("ascii") + b"=" * (-len(marker) % 4))
        except (UnicodeEncodeError, binascii.Error) as error:
            raise _no_marker() from error
        if not hmac.compare_digest(self._seal(raw[_SEAL:]), raw[:_SEAL]):
            raise _no_marker()
        name, value, key = cast("list[str]", json.loads(raw[_SEAL:]))
        if name != order.name:
            raise invalid("query.marker", f"This marker is of a list sorted by {name}.")
        return Place(_typed(value, order.column), _typed(key, order.key))

    def _seal(self, text: bytes) -> bytes:
        return hmac.digest(self._pepper, b"marker" + text, "sha256")[:_SEAL]


def _no_marker() -> Exception:
    return invalid("query.marker", "This marker was not given out here.")


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _typed(text: str, column: Column[Any]) -> Any:
    if isinstance(column.type, Instant):
        return datetime.fromisoformat(text)
    return UUID(text) if isinstance(column.type, Uuid) else text


def links(request: Request, marker: str | None) -> Links:
    """The links of a page; `marker`: where the next one begins."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    following = None
    if marker is not None:
        after = request.url.include_query_params(marker=marker)
        following = f"{after.path}?{after.query}"
    return Links(self=here, next=following)


def cut(
    rows: Sequence[Row[Any]], limit: int, order: Order, markers: Markers
) -> tuple[Sequence[Row[Any]], str | None]:
    """The rows of a page out of `limit + 1` that were asked for, and the next page's marker."""
    page = rows[:limit]
    return page, markers.write(order, page[-1]) if len(rows) > limit else None
