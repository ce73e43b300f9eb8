"""What sync promises about what accounts offer."""

from collections.abc import AsyncIterator

import pytest

from chassis.errors import Retry
from chassis.testing import said
from contracts.catalog.events import CatalogEvent, Flavor, Image, KeyPair, Network
from contracts.errors import ErrorCode
from contracts.message import Body
from services.sync.catalog import Catalog
from tests.fakes.driver import FakeDriver
from tests.unit.sync.world import ACCOUNT, SyncWorld

FLAVOR = Flavor(id="1", name="m1.small", vcpus=1, ram_mb=2048, disk_gb=20)
IMAGE = Image(id="i1", name="debian-12", status="active")
NETWORK = Network(id="n1", name="private")
KEY = KeyPair(id="laptop", name="laptop")


class BreaksOff(FakeDriver):
    async def catalog(self) -> AsyncIterator[CatalogEvent]:
        async for item in super().catalog():
            yield item
        raise Retry(ErrorCode.CLOUD_UNAVAILABLE, "broke off")


@pytest.fixture
def catalog(world: SyncWorld) -> Catalog:
    return world.service.catalogs[ACCOUNT]


async def items(world: SyncWorld) -> list[tuple[str, Body]]:
    return [(m.subject, m.data) for m in await said(world.service.database)]


async def test_every_item_is_said_once(world: SyncWorld, catalog: Catalog) -> None:
    world.cloud.items = [FLAVOR, IMAGE, NETWORK, KEY]
    assert await catalog.list_once()
    assert await items(world) == [
        (f"{ACCOUNT}/flavor/1", FLAVOR),
        (f"{ACCOUNT}/image/i1", IMAGE),
        (f"{ACCOUNT}/network/n1", NETWORK),
        (f"{ACCOUNT}/keypair/laptop", KEY),
    ]
    assert await catalog.list_once()
    assert await items(world) == []


async def test_a_changed_item_is_said_whole(world: SyncWorld, catalog: Catalog) -> None:
    world.cloud.items = [FLAVOR, IMAGE]
    await catalog.list_once()
    await items(world)
    renamed = IMAGE.model_copy(update={"name": "debian-13"})
    world.cloud.items = [FLAVOR, renamed]
    await catalog.list_once()
    assert await items(world) == [(f"{ACCOUNT}/image/i1", renamed)]


async def test_what_is_no_longer_listed_is_gone_and_may_come_back(
    world: SyncWorld, catalog: Catalog
) -> None:
    world.cloud.items = [FLAVOR, IMAGE]
    await catalog.list_once()
    await items(world)
    world.cloud.items = [FLAVOR]
    await catalog.list_once()
    gone = IMAGE.model_copy(update={"gone": True})
    assert await items(world) == [(f"{ACCOUNT}/image/i1", gone)]
    await catalog.list_once()
    assert await items(world) == []
    world.cloud.items = [FLAVOR, IMAGE]
    await catalog.list_once()
    assert await items(world) == [(f"{ACCOUNT}/image/i1", IMAGE)]


async def test_a_list_that_breaks_off_says_what_it_showed_and_nothing_is_gone(
    world: SyncWorld, catalog: Catalog
) -> None:
    world.cloud.items = [FLAVOR, IMAGE]
    await catalog.list_once()
    await items(world)
    world.cloud.items = [FLAVOR, NETWORK]
    catalog.driver = lambda: BreaksOff(world.cloud, ACCOUNT)
    assert not await catalog.list_once()
    assert await items(world) == [(f"{ACCOUNT}/network/n1", NETWORK)]
    account = await world.account()
    assert account.next_catalog_at is not None
    assert (account.next_catalog_at - world.clock.now).total_seconds() == 5


async def test_only_the_holder_of_the_lease_lists(world: SyncWorld, catalog: Catalog) -> None:
    world.cloud.items = [FLAVOR]
    other = world.replica()
    try:
        assert await catalog.list_once()
        assert not await other.catalogs[ACCOUNT].list_once()
        assert len(await items(world)) == 1
    finally:
        await other.database.close()
