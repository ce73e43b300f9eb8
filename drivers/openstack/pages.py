"""How a list goes on: by the marker in the link to its next page."""

from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel


class Link(BaseModel):
    """One of a list's `…_links` in Nova and Neutron."""

    rel: str
    href: str


def next_marker(links: Iterable[Link]) -> str | None:
    """The marker of the page after this one; None for the last."""
    return next((marker_in(link.href) for link in links if link.rel == "next"), None)


def marker_in(href: str | None) -> str | None:
    """The marker of a link. Its host is not asked: behind a proxy it is often a wrong one."""
    return parse_qs(urlsplit(href or "").query).get("marker", [None])[0]
