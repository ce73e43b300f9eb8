"""How a list goes on: by the marker in the link to its next page."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ValidationError

from chassis.errors import Retry
from contracts.errors import ErrorCode
from drivers.openstack import errors
from drivers.openstack.calls import Call
from drivers.openstack.cloud import Cloud


class Link(BaseModel):
    """One of a list's `…_links` in Nova, Neutron and Cinder."""

    rel: str
    href: str


def next_marker(links: Iterable[Link]) -> str | None:
    """The marker of the page after this one; None for the last."""
    return next((marker_in(link.href) for link in links if link.rel == "next"), None)


def marker_in(href: str | None) -> str | None:
    """The marker of a link. Its host is not asked: behind a proxy it is often a wrong one."""
    return parse_qs(urlsplit(href or "").query).get("marker", [None])[0]


class Page(BaseModel):
    """One page of a list."""

    def marker(self) -> str | None:
        """The marker of the next page; None if this is the last."""
        raise NotImplementedError


PageT = TypeVar("PageT", bound=Page)


class Trail:
    """The pages that one list went by, by their markers."""

    def __init__(self) -> None:
        self._passed: set[str] = set()

    def follow(self, marker: str, call: Call) -> None:
        """On to the page behind `marker`; Retry if that is one of those before.

        Such a list never ends, and what it lacks is not known to be gone.
        """
        if marker in self._passed:
            said = f"{call.method} {call.template} goes round in a circle: its pages lead back to"
            raise Retry(ErrorCode.CLOUD_UNAVAILABLE, f"{said} the one after {marker!r}.")
        self._passed.add(marker)


async def pages(cloud: Cloud, call: Call, model: type[PageT]) -> AsyncIterator[PageT]:
    """The pages that a call lists; Retry where one makes no sense, or leads back."""
    params = {**call.params, "limit": str(cloud.settings.page_size)}
    trail = Trail()
    while True:
        asked = replace(call, params=params)
        answer = await cloud.ask(asked)
        try:
            page = model.model_validate_json(answer.content)
        except ValidationError as error:
            raise errors.unreadable(asked, answer) from error
        yield page
        marker = page.marker()
        if marker is None:
            return
        trail.follow(marker, asked)
        params = {**params, "marker": marker}
