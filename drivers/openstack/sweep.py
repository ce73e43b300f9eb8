"""What servers there are: lists of them page by page, and a look at one."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TypeVar

from pydantic import ValidationError

from chassis.errors import Retry
from contracts.errors import ErrorCode
from contracts.vm.states import VmState
from drivers.base import Fingerprints, Glanced, Glimpse, Looked, Mark, Seen
from drivers.governor import Lane
from drivers.openstack import errors
from drivers.openstack.calls import Answer, Call
from drivers.openstack.cloud import Cloud
from drivers.openstack.glimpses import glance_page
from drivers.openstack.pages import Trail
from drivers.openstack.servers import read_one, read_page, seen, vm_tag

T = TypeVar("T")


async def pages(
    cloud: Cloud, filters: Mapping[str, str], lane: Lane = Lane.SWEEP
) -> AsyncIterator[Looked]:
    """The servers that match Nova's `filters`; every page carries the clock of the first."""
    async for servers, clock in _pages(cloud, filters, lane, read_page):
        yield Looked(servers=[seen(server) for server in servers], clock=clock)


async def glances(
    cloud: Cloud, filters: Mapping[str, str], known: Fingerprints
) -> AsyncIterator[Glanced]:
    """The same pages, unread."""

    def read(content: bytes) -> tuple[list[Glimpse], str | None]:
        return glance_page(content, known)

    async for servers, clock in _pages(cloud, filters, Lane.SWEEP, read):
        yield Glanced(servers=servers, clock=clock)


async def _pages(
    cloud: Cloud,
    filters: Mapping[str, str],
    lane: Lane,
    read: Callable[[bytes], tuple[list[T], str | None]],
) -> AsyncIterator[tuple[list[T], datetime]]:
    clock: datetime | None = None
    params = {**filters, "limit": str(cloud.settings.page_size)}
    trail = Trail()
    while True:
        call = Call("compute", "GET", "/servers/detail", params=params, lane=lane)
        answer = await _ask(cloud, call)
        clock = clock or answer.sent_at
        try:
            servers, marker = read(answer.content)
        except ValueError as error:  # pydantic's, too
            raise errors.unreadable(call, answer) from error
        yield servers, clock
        if marker is None:
            return
        trail.follow(marker, call)
        params = {**params, "marker": marker}


async def find(cloud: Cloud, mark: Mark) -> Looked:
    """The living servers with the mark's VM id, oldest first.

    Their own tags say so, not only the answer: a cloud may ignore a filter that it does not know.
    """
    filters = {"tags": vm_tag(mark), "sort_key": "created_at", "sort_dir": "asc"}
    found = [page async for page in pages(cloud, filters, Lane.COMMAND)]
    its = [each for page in found for each in page.servers if _is_its(each, mark)]
    return Looked(servers=its, clock=found[0].clock)


def _is_its(seen: Seen, mark: Mark) -> bool:
    lives = seen.snapshot.state is not VmState.DELETED
    return lives and seen.mark is not None and seen.mark.vm_id == mark.vm_id


async def look(cloud: Cloud, server_id: str) -> Looked:
    """The one server, or none where Nova itself says that there is none."""
    call = Call("compute", "GET", "/servers/{id}", ids={"id": server_id})
    answer = await cloud.ask(call, accept=(HTTPStatus.NOT_FOUND,))
    if errors.is_no_server(call, answer):
        return Looked(servers=(), clock=answer.sent_at)
    if not answer.ok:
        raise errors.refusal(call, answer)
    try:
        return Looked(servers=(seen(read_one(answer.content)),), clock=answer.sent_at)
    except ValidationError as error:
        raise errors.unreadable(call, answer) from error


def changed_since(since: datetime | None) -> dict[str, str]:
    """The filter for what changed at or after `since`, with deleted servers; none for None."""
    if since is None:
        return {}
    return {"changes-since": since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


async def _ask(cloud: Cloud, call: Call) -> Answer:
    """A page; Retry where the server that the page before ended with is gone meanwhile."""
    paging = "marker" in call.params
    answer = await cloud.ask(call, accept=(HTTPStatus.BAD_REQUEST,) if paging else ())
    if not answer.ok:
        said = f"The list changed while it was read: {errors.words(answer)}"
        raise Retry(ErrorCode.CLOUD_UNAVAILABLE, said)
    return answer
