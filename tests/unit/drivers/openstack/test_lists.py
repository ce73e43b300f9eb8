"""Lists of a cloud that does not do as it is asked: an ignored filter, pages that lead back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import pytest

from chassis.errors import Retry
from contracts.errors import ErrorCode
from drivers.base import Mark
from drivers.openstack.driver import OpenStackDriver
from drivers.openstack.servers import marking
from drivers.openstack.settings import OpenStackSettings
from tests.unit.drivers.openstack.answers import answer
from tests.unit.drivers.openstack.conftest import Sending

MARK = Mark(UUID("6a0a2d50-86b3-4b6e-92ef-a4617e530bcc"), "p")
OTHER = Mark(UUID(int=1), "p")
Listing = Callable[[OpenStackDriver], AsyncIterator[object]]


@pytest.fixture
def driver() -> OpenStackDriver:
    return OpenStackDriver("demo", OpenStackSettings())


def server(ident: str, tags: list[str], **fields: object) -> dict[str, object]:
    return {"id": ident, "status": "ACTIVE", "tags": tags, **fields}


async def test_of_a_cloud_that_ignores_the_filter_only_what_carries_the_mark_is_found(
    driver: OpenStackDriver, sending: Sending
) -> None:
    servers = [
        server("strange", []),
        server("another's", marking(OTHER)),
        server("half a mark", marking(MARK)[:1]),
        server("ours", ["web", *marking(MARK)]),
        server("ours, deleted", marking(MARK), status="DELETED"),
        server("ours, younger", marking(MARK)),
    ]
    sending.results = [answer(200, {"servers": servers})]
    found = await driver.find(MARK)
    assert [each.snapshot.server_id for each in found.servers] == ["ours", "ours, younger"]


def page(marker: str) -> dict[str, object]:
    """A page of whatever kind, with a link to the one behind `marker`."""
    next_: object = [{"rel": "next", "href": f"http://inside/list?marker={marker}"}]
    items: dict[str, object] = {"servers": [], "ports": [], "flavors": []}
    return items | dict.fromkeys((f"{kind}_links" for kind in items), next_)


async def _find(driver: OpenStackDriver) -> AsyncIterator[object]:
    yield await driver.find(MARK)


def _sweep(driver: OpenStackDriver) -> AsyncIterator[object]:
    return driver.sweep(None)


def _glance(driver: OpenStackDriver) -> AsyncIterator[object]:
    return driver.glance(None, lambda _: None)


LISTINGS: tuple[Listing, ...] = (
    _find,
    _sweep,
    _glance,
    OpenStackDriver.inventory,
    OpenStackDriver.catalog,
)


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("markers", [["a", "a"], ["a", "b", "a"], ["a", "b", "c", "b"]])
async def test_a_list_that_goes_round_in_a_circle_ends_and_is_not_taken_for_a_whole_one(
    driver: OpenStackDriver, sending: Sending, listing: Listing, markers: list[str]
) -> None:
    rest = Retry(ErrorCode.CLOUD_BUSY, "of the catalog's other lists nothing is asked here")
    sending.results = [*[answer(200, page(marker)) for marker in markers], rest]
    async with asyncio.timeout(5):
        with pytest.raises(Retry, match="round in a circle") as told:
            _ = [each async for each in listing(driver)]
    assert told.value.code is ErrorCode.CLOUD_UNAVAILABLE
    assert [call.params.get("marker") for call in sending.calls[: len(markers)]] == [
        None,
        *markers[:-1],
    ]


async def test_a_list_whose_pages_lead_on_is_read_to_its_end(
    driver: OpenStackDriver, sending: Sending
) -> None:
    sending.results = [answer(200, page("a")), answer(200, page("b")), answer(200, {"servers": []})]
    assert len([each async for each in driver.sweep(None)]) == 3
