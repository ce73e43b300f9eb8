"""One run's servers in an account: made, waited for, and cleared away by the marks they carry."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from chassis.errors import HostlerError
from contracts.catalog.events import CatalogEvent, Flavor, Image, Network
from contracts.vm.commands import Create
from contracts.vm.states import VmSnapshot, VmState
from drivers.base import Driver, Issued, Mark

PATIENCE = 120.0  # seconds for anything that a cloud does by itself


@dataclass(frozen=True)
class Offer:
    """What the run's servers are made of: the smallest that the account has."""

    flavor: str
    image: str
    network: str


def choose(items: list[CatalogEvent]) -> Offer:
    """The smallest active image, the smallest flavor that holds it, the first network to join."""
    images = [i for i in items if isinstance(i, Image) and i.status == "active"]
    image = min(images, key=lambda i: (i.size_bytes or 0, i.name))
    flavors = [
        f
        for f in items
        if isinstance(f, Flavor) and f.ram_mb >= image.min_ram_mb and f.disk_gb >= image.min_disk_gb
    ]
    flavor = min(flavors, key=lambda f: (f.ram_mb, f.disk_gb, f.vcpus))
    networks = [n for n in items if isinstance(n, Network) and not n.external and n.subnets]
    network = min(networks, key=lambda n: (n.shared, n.name))
    return Offer(flavor.id, image.id, network.id)


def new_request_id() -> str:
    return f"req-{uuid.uuid4()}"


class Account:
    """What this run does in the account. Its project id, part of each mark, is its alone."""

    def __init__(self, driver: Driver, offer: Offer) -> None:
        self.driver = driver
        self.offer = offer
        self.project_id = f"conformance-{uuid.uuid4().hex[:12]}"

    def new_mark(self) -> Mark:
        return Mark(uuid.uuid4(), self.project_id)

    def wanted(self, **fields: object) -> Create:
        """The smallest server, but for `fields`."""
        given: dict[str, object] = {
            "name": self.project_id,
            "flavor": self.offer.flavor,
            "image": self.offer.image,
            "networks": [self.offer.network],
        }
        return Create.model_validate({**given, **fields})

    async def create(self, mark: Mark | None = None, **fields: object) -> Issued:
        wanted = self.wanted(**fields)
        return await self.driver.create(mark or self.new_mark(), wanted, new_request_id())

    async def active(self, mark: Mark | None = None, **fields: object) -> str:
        """The id of a new server that is through with its build."""
        issued = await self.create(mark, **fields)
        await self.settled(issued.server_id, VmState.ACTIVE)
        return issued.server_id

    async def settled(self, server_id: str, state: VmState) -> VmSnapshot:
        """Wait until it is in that state and nothing is being done with it."""
        vm = await self.until(
            server_id,
            lambda vm: vm is not None and vm.task is None and vm.state in (state, VmState.ERROR),
        )
        assert vm is not None
        assert vm.state is state, vm.fault
        return vm

    async def gone(self, server_id: str) -> None:
        await self.until(server_id, lambda vm: vm is None)

    async def snapshot(self, server_id: str) -> VmSnapshot | None:
        servers = (await self.driver.look(server_id)).servers
        return servers[0].snapshot if servers else None

    async def until(
        self, server_id: str, done: Callable[[VmSnapshot | None], bool]
    ) -> VmSnapshot | None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            vm = await self.snapshot(server_id)
            if done(vm):
                return vm
            await asyncio.sleep(0.1)
        raise TimeoutError(f"{server_id} did not get there")

    async def clock_reaches(self, moment: datetime) -> None:
        """Wait until the cloud's clock, which has whole seconds, is that far."""
        while (await self.driver.find(self.new_mark())).clock < moment:
            await asyncio.sleep(0.2)

    async def clear(self) -> None:
        """Delete what carries this run's marks, and wait until it is gone."""
        left = await self._left()
        for server_id in left:
            await self._delete(server_id)
        for server_id in left:
            await self.gone(server_id)

    async def _left(self) -> list[str]:
        pages = [page async for page in self.driver.sweep(None)]
        return [
            str(each.snapshot.server_id)
            for page in pages
            for each in page.servers
            if each.mark and each.mark.project_id == self.project_id
        ]

    async def _delete(self, server_id: str) -> None:
        for _ in range(5):
            try:
                await self.driver.delete(server_id, new_request_id())
            except HostlerError:
                await asyncio.sleep(1)
            else:
                return


@asynccontextmanager
async def open_driver(driver: Driver) -> AsyncGenerator[Driver]:
    """A driver of its own, for a test whose faults must not reach the next."""
    try:
        yield driver
    finally:
        await driver.close()


@asynccontextmanager
async def opened_account(driver: Driver) -> AsyncGenerator[Account]:
    account = Account(driver, choose([item async for item in driver.catalog()]))
    try:
        yield account
    finally:
        await account.clear()
        await driver.close()
