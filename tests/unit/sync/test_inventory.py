"""What sync promises about what no VM has any more: told once, when it was found so twice."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from uuid import UUID

import pytest

from chassis.errors import Retry
from chassis.ids import new_id
from chassis.testing import said
from contracts.errors import ErrorCode
from contracts.inventory.events import OrphanFound, OrphanGone
from contracts.message import Body, Message
from contracts.operation import events as operation
from contracts.vm.states import VmState
from drivers.base import Inventories, Mark, Resource
from services.sync.inventory import Inventory
from tests.fakes.driver import LOST, FakeCloud, FakeDriver
from tests.unit.sync.world import ACCOUNT, SyncWorld, opened

DELETE = "vm.delete.v1"


class Holder(FakeDriver, Inventories):
    """A driver that lists what it is told to hold, two to a page."""

    def __init__(self, cloud: FakeCloud, account: str) -> None:
        super().__init__(cloud, account)
        self.held: list[Resource] = []
        self.breaks_off = False

    async def inventory(self) -> AsyncIterator[Sequence[Resource]]:
        for start in range(0, len(self.held), 2):
            yield self.held[start : start + 2]
        if self.breaks_off:
            raise Retry(ErrorCode.CLOUD_UNAVAILABLE, "broke off")

    async def belongings(self, mark: Mark, server_id: str | None) -> Sequence[Resource]:
        raise AssertionError("sync asks for everything at once")

    async def remove(self, resource: Resource, request_id: str) -> None:
        raise AssertionError("sync removes nothing")


class Holding(SyncWorld):
    """A world whose cloud holds more than servers."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.holder = Holder(self.cloud, ACCOUNT)
        self.driver = self.holder

    @property
    def inventory(self) -> Inventory:
        return self.service.inventories[ACCOUNT]

    async def list_once(self) -> list[Message[Body]]:
        """An interval later; what is said of orphans."""
        self.clock.advance(seconds=300)
        assert await self.inventory.list_once()
        return await said(self.service.database)

    async def list_twice(self) -> list[Message[Body]]:
        assert await self.list_once() == []
        return await self.list_once()

    async def deleted(self) -> tuple[UUID, str]:
        """A VM that is deleted, and its server's id."""
        vm_id, server_id = await self.known()
        self.cloud.change(server_id, state=VmState.DELETED)
        await self.sweep()
        return vm_id, server_id


@pytest.fixture
async def holding(database_url: str) -> AsyncGenerator[Holding]:
    async with opened(Holding(database_url)) as made:
        yield made


def found(messages: list[Message[Body]]) -> list[OrphanFound]:
    return [m.data for m in messages if isinstance(m.data, OrphanFound)]


def told(messages: list[Message[Body]]) -> list[tuple[str, str, str, bool]]:
    return [(o.kind, o.id, o.reason, o.proven) for o in found(messages)]


def gone(messages: list[Message[Body]]) -> list[str]:
    return [m.data.id for m in messages if isinstance(m.data, OrphanGone)]


async def test_a_straggler_of_a_deleted_vm_is_an_orphan_told_once(holding: Holding) -> None:
    vm_id, _ = await holding.deleted()
    late = holding.server(vm_id, "late")
    assert await holding.list_once() == []
    first_seen = holding.clock.now
    messages = await holding.list_once()
    (orphan,) = found(messages)
    assert (orphan.kind, orphan.id, orphan.name) == ("server", late, "late")
    assert (orphan.vm_id, orphan.reason, orphan.proven) == (vm_id, "vm_deleted", True)
    assert orphan.found_at == first_seen
    assert [(m.subject, m.project_id) for m in messages] == [(f"{ACCOUNT}/server/{late}", "p1")]
    assert await holding.list_twice() == []


async def test_a_second_server_of_a_vm_is_an_orphan(holding: Holding) -> None:
    vm_id, _ = await holding.known()
    second = holding.server(vm_id, "second")
    assert told(await holding.list_twice()) == [("server", second, "second_server", True)]


async def test_a_server_with_the_mark_of_another_hostler_is_told_and_nothing_is_proven(
    holding: Holding,
) -> None:
    other = holding.cloud.add("theirs", VmState.ACTIVE, Mark(new_id(), "elsewhere"))
    await holding.sweep()
    messages = await holding.list_twice()
    assert told(messages) == [("server", other, "unknown_vm", False)]
    assert messages[0].project_id == ""


async def test_servers_that_are_vms_or_will_be_or_are_nobodys_are_no_orphans(
    holding: Holding,
) -> None:
    await holding.known()
    holding.cloud.add("somebody-elses")
    await holding.sweep()
    holding.server(new_id(), "not swept yet")
    assert await holding.list_twice() == []


async def test_an_orphan_that_is_gone_is_told_once(holding: Holding) -> None:
    vm_id, _ = await holding.deleted()
    late = holding.server(vm_id, "late")
    await holding.list_twice()
    holding.cloud.vanish(late)
    assert gone(await holding.list_once()) == [late]
    assert await holding.list_twice() == []


async def test_what_was_an_orphan_in_one_list_alone_is_never_told(holding: Holding) -> None:
    vm_id, _ = await holding.deleted()
    late = holding.server(vm_id, "late")
    assert await holding.list_once() == []
    hidden = holding.cloud.servers.pop(late)
    assert await holding.list_once() == []
    holding.cloud.servers[late] = hidden
    assert await holding.list_once() == []


async def test_while_an_operation_is_under_way_nothing_of_its_vm_is_an_orphan(
    holding: Holding,
) -> None:
    vm_id, server_id = await holding.known()
    second = holding.server(vm_id, "second")
    operation_id = await holding.issued(vm_id, "vm.stop.v1", server_id)
    assert await holding.list_twice() == []
    await holding.hear(vm_id, operation_id, operation.Succeeded(command="vm.stop.v1"))
    assert told(await holding.list_twice()) == [("server", second, "second_server", True)]
    await holding.issued(vm_id, DELETE, server_id)
    assert await holding.list_twice() == [], "and one that was told stays so"


async def test_an_orphan_whose_vm_is_deleted_after_it_is_told_again(holding: Holding) -> None:
    vm_id, server_id = await holding.known()
    second = holding.server(vm_id, "second")
    await holding.list_twice()
    holding.cloud.change(server_id, state=VmState.DELETED)
    await holding.sweep()
    assert told(await holding.list_once()) == [("server", second, "vm_deleted", True)]


async def test_marked_resources_of_deleted_and_unknown_vms_are_orphans(holding: Holding) -> None:
    dead, _ = await holding.deleted()
    alive, _ = await holding.known("alive")
    stranger = new_id()
    holding.holder.held = [
        Resource("port", "p-dead", "eth0", Mark(dead, "p1"), None),
        Resource("volume", "v-alive", "data", Mark(alive, "p1"), None),
        Resource("volume", "v-unknown", "data", Mark(stranger, "p1"), None),
        Resource("floating_ip", "f-nobodys", "203.0.113.7", None, None),
    ]
    messages = await holding.list_twice()
    assert told(messages) == [
        ("port", "p-dead", "vm_deleted", True),
        ("volume", "v-unknown", "unknown_vm", False),
    ]
    assert [o.vm_id for o in found(messages)] == [dead, stranger]


async def test_what_is_left_of_a_deleted_vms_server_is_told_and_nothing_is_proven(
    holding: Holding,
) -> None:
    dead, server_id = await holding.deleted()
    holding.holder.held = [
        Resource("port", "left", "", None, server_id),
        Resource("port", "of-a-stranger", "", None, "server-99"),
    ]
    messages = await holding.list_twice()
    assert told(messages) == [("port", "left", "vm_deleted", False)]
    assert found(messages)[0].vm_id == dead


async def test_what_is_left_of_a_server_that_was_made_anew_is_told(holding: Holding) -> None:
    vm_id = new_id()
    create = "vm.create.v1"
    first = holding.server(vm_id, state=VmState.BUILDING)
    operation_id = await holding.issued(vm_id, create, first)
    await holding.sweep(after=1)
    holding.cloud.change(first, state=VmState.DELETED)
    await holding.sweep(after=1)
    second = holding.server(vm_id)
    await holding.sweep(after=1)
    await holding.hear(vm_id, operation_id, operation.Succeeded(command=create, server_id=second))
    holding.holder.held = [
        Resource("port", "left", "", None, first),
        Resource("port", "used", "", None, second),
    ]
    assert told(await holding.list_twice()) == [("port", "left", "second_server", False)]


async def test_what_is_attached_to_a_living_server_is_used(holding: Holding) -> None:
    dead, _ = await holding.deleted()
    foreign = holding.cloud.add("somebody-elses")
    await holding.sweep()
    holding.holder.held = [Resource("volume", "lent", "", Mark(dead, "p1"), foreign)]
    assert await holding.list_twice() == []


async def test_a_list_that_breaks_off_says_nothing_of_its_kinds(holding: Holding) -> None:
    dead, _ = await holding.deleted()
    late = holding.server(dead, "late")
    holding.holder.held = [Resource("port", "left", "", Mark(dead, "p1"), None)]
    await holding.list_twice()
    holding.holder.held, holding.holder.breaks_off = [], True
    holding.cloud.vanish(late)
    assert not await holding.inventory.list_once()
    assert gone(await said(holding.service.database)) == [late]
    holding.cloud.order("sweep", LOST)
    assert not await holding.inventory.list_once()
    holding.holder.breaks_off = False
    assert gone(await holding.list_once()) == ["left"]


async def test_a_cloud_that_can_list_servers_alone_has_its_servers_compared(
    world: SyncWorld,
) -> None:
    vm_id, _ = await world.known()
    second = world.server(vm_id, "second")
    inventory = world.service.inventories[ACCOUNT]
    assert await inventory.list_once()
    assert await inventory.list_once()
    assert told(await said(world.service.database)) == [("server", second, "second_server", True)]


async def test_only_the_holder_of_the_lease_lists_and_no_sweep_waits_for_it(
    holding: Holding,
) -> None:
    other = holding.replica()
    try:
        assert await holding.inventory.list_once()
        assert not await other.inventories[ACCOUNT].list_once()
        assert await other.sweepers[ACCOUNT].sweep_once()
    finally:
        await other.database.close()
