"""Lists of a cloud that does not do as it is asked: an ignored filter."""

from uuid import UUID

import pytest

from drivers.base import Mark
from drivers.openstack.driver import OpenStackDriver
from drivers.openstack.servers import marking
from drivers.openstack.settings import OpenStackSettings
from tests.unit.drivers.openstack.answers import answer
from tests.unit.drivers.openstack.conftest import Sending

MARK = Mark(UUID("6a0a2d50-86b3-4b6e-92ef-a4617e530bcc"), "p")
OTHER = Mark(UUID(int=1), "p")


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
