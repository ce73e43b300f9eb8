"""What a driver that `Inventories` promises, on every cloud and for the fake; expectations by hand."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from chassis.errors import Retry
from contracts.errors import ErrorCode
from contracts.inventory.events import ResourceKind
from drivers.base import Mark, Resource
from tests.conformance.account import PATIENCE, new_request_id
from tests.conformance.estate import KINDS, Estate, opened_estate
from tests.conformance.targets import DRIVERS, Target, opened
from tests.infra.plan import Infrastructure

pytestmark = [
    pytest.mark.timeout(300),  # a real cloud takes its time
    # openstacksdk deprecates parts of itself that it uses itself
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module", params=[*DRIVERS, "fake"])
def target(request: pytest.FixtureRequest) -> Iterator[Target | None]:
    if request.param == "fake":
        yield None
        return
    infrastructure: Infrastructure = request.getfixturevalue("infrastructure")
    with opened(request.param, infrastructure.cloud()) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def estate(target: Target | None) -> AsyncIterator[Estate]:
    async with opened_estate(target) as made:
        yield made


async def listed(estate: Estate) -> dict[str, Resource]:
    pages = [page async for page in estate.inventories.inventory()]
    found = [resource for page in pages for resource in page]
    assert len({(r.kind, r.id) for r in found}) == len(found)
    return {resource.id: resource for resource in found}


async def belonging(estate: Estate, mark: Mark, server_id: str | None = None) -> set[str]:
    return {each.id for each in await estate.inventories.belongings(mark, server_id)}


async def removed(estate: Estate, resource: Resource) -> None:
    """Ask for its end until the cloud takes it: what was made or let go just now may be busy yet."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await estate.inventories.remove(resource, new_request_id())
            except Retry:
                await asyncio.sleep(0.1)


@every_kind
async def test_what_carries_a_mark_is_listed_with_it(estate: Estate, kind: ResourceKind) -> None:
    mark = estate.new_mark()
    made = [await estate.make(kind, mark) for _ in range(3)]
    found = await listed(estate)
    assert [(found[i].kind, found[i].mark, found[i].server_id) for i in made] == [
        (kind, mark, None)
    ] * 3


@every_kind
async def test_what_carries_none_is_listed_without(estate: Estate, kind: ResourceKind) -> None:
    ident = await estate.make(kind)
    assert (await listed(estate))[ident].mark is None


async def test_what_belongs_to_the_cloud_itself_is_left_out(estate: Estate) -> None:
    port = await estate.foreign_port()
    if port is None:
        pytest.skip("this cloud has no ports of its own")
    assert port not in await listed(estate)


@every_kind
async def test_what_carries_a_vms_mark_belongs_to_it_and_nothing_else_does(
    estate: Estate, kind: ResourceKind
) -> None:
    mark, other = estate.new_mark(), estate.new_mark()
    mine = await estate.make(kind, mark)
    await estate.make(kind, other)
    await estate.make(kind)
    assert await belonging(estate, mark) == {mine}


async def test_a_mark_of_another_project_is_another(estate: Estate) -> None:
    mark = estate.new_mark()
    await estate.make("port", Mark(mark.vm_id, "somebody-elses"))
    assert await belonging(estate, mark) == set()


async def test_the_port_that_the_cloud_made_belongs_and_one_that_was_given_does_not(
    estate: Estate,
) -> None:
    mark = estate.new_mark()
    server_id = await estate.active(mark)
    given = await estate.make("port")
    await estate.give("port", given, server_id)
    found = await estate.inventories.belongings(mark, server_id)
    assert [(r.kind, r.mark, r.server_id) for r in found] == [("port", None, server_id)]
    assert given not in {r.id for r in found}
    assert await belonging(estate, mark) == set()
    await estate.end(server_id)
    assert await belonging(estate, mark, server_id) == set()


@every_kind
async def test_what_is_free_is_removed_and_removing_it_again_succeeds(
    estate: Estate, kind: ResourceKind
) -> None:
    mark = estate.new_mark()
    await estate.make(kind, mark)
    (resource,) = await estate.inventories.belongings(mark, None)
    await estate.inventories.remove(resource, new_request_id())
    await estate.inventories.remove(resource, new_request_id())
    async with asyncio.timeout(PATIENCE):
        while await belonging(estate, mark):  # a volume takes its time
            await asyncio.sleep(0.1)
    assert resource.id not in await listed(estate)


@every_kind
async def test_what_a_server_uses_shows_it_and_is_not_removed(
    estate: Estate, kind: ResourceKind
) -> None:
    mark = estate.new_mark()
    server_id = await estate.active(mark)
    ident = await estate.make(kind, mark)
    await estate.give(kind, ident, server_id)
    resource = (await listed(estate))[ident]
    assert (resource.mark, resource.server_id) == (mark, server_id)
    with pytest.raises(Retry) as refused:
        await estate.inventories.remove(resource, new_request_id())
    assert (refused.value.code, refused.value.uncertain) == (ErrorCode.CLOUD_BUSY, False)
    assert ident in await belonging(estate, mark)
    await estate.end(server_id)


async def test_what_has_changed_hands_is_not_removed(estate: Estate) -> None:
    mark = estate.new_mark()
    ident = await estate.make("port")
    other = Resource("port", ident, "made", mark, None)
    with pytest.raises(Retry):
        await estate.inventories.remove(other, new_request_id())
    assert ident in await listed(estate)


async def test_what_a_deleted_server_left_behind_is_found_and_removed(estate: Estate) -> None:
    if estate.control is None:
        pytest.skip("only a simulated cloud leaks to order")
    mark = estate.new_mark()
    estate.control.order("/leaks", kinds=list(KINDS))
    server_id = await estate.active(mark)
    await estate.end(server_id)
    left = await estate.inventories.belongings(mark, server_id)
    assert {(r.kind, r.mark, r.server_id) for r in left} == {
        ("port", None, server_id),
        ("volume", mark, None),
        ("floating_ip", mark, None),
    }
    assert {r.id for r in left} <= (await listed(estate)).keys()
    for resource in left:
        await removed(estate, resource)
    assert await belonging(estate, mark, server_id) == set()
