"""Where a driver that `Inventories` is tried: servers and what belongs to them, made past it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from uuid import uuid4

from contracts.inventory.events import ResourceKind
from contracts.vm.states import VmState
from drivers.base import Driver, Inventories, Mark
from tests.conformance.account import Account, opened_account
from tests.conformance.cloud import Tenant
from tests.conformance.targets import Control, Target
from tests.fakes.driver import FakeCloud, FakeDriver

KINDS: tuple[ResourceKind, ...] = ("port", "volume", "floating_ip")
MARKED: tuple[str, ...] = ("hostler:vm", "hostler:project")


class Estate(ABC):
    """An account with a driver to it."""

    driver: Driver
    control: Control | None = None

    @property
    def inventories(self) -> Inventories:
        assert isinstance(self.driver, Inventories)
        return self.driver

    @abstractmethod
    def new_mark(self) -> Mark:
        """A mark of this run."""

    @abstractmethod
    async def make(self, kind: ResourceKind, mark: Mark | None = None) -> str:
        """A free one with that mark; the id."""

    @abstractmethod
    async def give(self, kind: ResourceKind, ident: str, server_id: str) -> None:
        """Have a server use it."""

    @abstractmethod
    async def active(self, mark: Mark) -> str:
        """The id of a server that is through with its build, with a port of the cloud's making."""

    @abstractmethod
    async def end(self, server_id: str) -> None:
        """Delete a server and wait until it is gone."""

    @abstractmethod
    async def foreign_port(self) -> str | None:
        """The id of a port that belongs to the cloud itself; None where there can be none."""


class FakeEstate(Estate):
    """The cloud in memory that other tests use: it is held to the same."""

    def __init__(self) -> None:
        self.cloud = FakeCloud(lambda: datetime.now(UTC))
        self.driver = FakeDriver(self.cloud)

    def new_mark(self) -> Mark:
        return Mark(uuid4(), "conformance")

    async def make(self, kind: ResourceKind, mark: Mark | None = None) -> str:
        return self.cloud.leave(kind, mark, name="made").id

    async def give(self, kind: ResourceKind, ident: str, server_id: str) -> None:
        old = self.cloud.resources[ident]
        new = self.cloud.leave(kind, old.mark, server_id, old.name)
        self.cloud.resources.pop(new.id)
        self.cloud.resources[ident] = type(old)(kind, ident, old.name, old.mark, server_id)

    async def active(self, mark: Mark) -> str:
        server_id = self.cloud.add("vm", VmState.ACTIVE, mark)
        self.cloud.leave("port", None, server_id)
        return server_id

    async def end(self, server_id: str) -> None:
        await self.driver.delete(server_id, "")
        self.cloud.settle()
        for each in list(self.cloud.resources.values()):
            if each.server_id == server_id and each.kind == "port":
                del self.cloud.resources[each.id]

    async def foreign_port(self) -> str | None:
        return None


class OpenStackEstate(Estate):
    """An account on OpenStack; what is made goes with the test."""

    def __init__(self, account: Account, tenant: Tenant, control: Control | None) -> None:
        self.account, self.tenant, self.control = account, tenant, control
        self.driver = account.driver
        self._made: list[tuple[str, str]] = []

    def new_mark(self) -> Mark:
        return self.account.new_mark()

    async def make(self, kind: ResourceKind, mark: Mark | None = None) -> str:
        return await asyncio.to_thread(self._make, kind, mark)

    def _make(self, kind: ResourceKind, mark: Mark | None) -> str:
        values = (str(mark.vm_id), mark.project_id) if mark else ()
        marked = dict(zip(MARKED, values, strict=False))
        tags = [f"{name}:{value}" for name, value in marked.items()]
        match kind:
            case "volume":
                return self._volume(marked)
            case "floating_ip":
                network = self.tenant.named("network", "networks", "public")
                return self._tagged("floatingip", tags, floating_network_id=network)
            case "port":
                network = self.account.offer.network
                return self._tagged("port", tags, network_id=network, name="made")
            case "server":
                raise ValueError(kind)

    def _post(self, service: str, singular: str, fields: dict[str, object]) -> str:
        path = f"/{singular}s"
        answer = self.tenant.call("POST", path, {singular: fields}, service=service)
        assert answer.status in (201, 202), answer.text
        ident = str(answer.body[singular]["id"])
        self._made.append((service, f"{path}/{ident}"))
        return ident

    def _tagged(self, singular: str, tags: list[str], **fields: object) -> str:
        ident = self._post("network", singular, fields)
        path = f"/{singular}s/{ident}/tags"
        assert self.tenant.call("PUT", path, {"tags": tags}, service="network").status == 200
        return ident

    def _volume(self, marked: dict[str, str]) -> str:
        fields: dict[str, object] = {"size": 1, "name": "made", "metadata": marked}
        ident = self._post("block_storage", "volume", fields)
        volume = self.tenant.sdk.block_storage.get_volume(ident)
        self.tenant.sdk.block_storage.wait_for_status(volume, "available", interval=0.1, wait=60)
        return ident

    async def give(self, kind: ResourceKind, ident: str, server_id: str) -> None:
        await asyncio.to_thread(self._give, kind, ident, server_id)

    def _give(self, kind: ResourceKind, ident: str, server_id: str) -> None:
        sdk = self.tenant.sdk
        match kind:
            case "volume":
                sdk.compute.create_volume_attachment(server_id, volume_id=ident)
                volume = sdk.block_storage.get_volume(ident)
                sdk.block_storage.wait_for_status(volume, "in-use", interval=0.1, wait=60)
            case "floating_ip":
                port = next(iter(sdk.network.ports(device_id=server_id)))
                sdk.network.update_ip(ident, port_id=port.id)
            case "port":
                fields = {"device_id": server_id, "device_owner": "compute:nova"}
                sdk.network.update_port(ident, **fields)
            case "server":
                raise ValueError(kind)

    async def active(self, mark: Mark) -> str:
        return await self.account.active(mark)

    async def end(self, server_id: str) -> None:
        await self.driver.delete(server_id, f"req-{uuid4()}")
        await self.account.gone(server_id)

    async def foreign_port(self) -> str | None:
        def make() -> str:
            fields: dict[str, object] = {
                "network_id": self.account.offer.network,
                "device_owner": "network:conformance",
            }
            return self._post("network", "port", fields)

        return await asyncio.to_thread(make)

    def clear(self) -> None:
        for service, path in reversed(self._made):
            self.tenant.call("DELETE", path, service=service)


@contextmanager
def _leaks_forgotten(control: Control | None) -> Generator[None]:
    yield
    if control is not None:
        control.forget("/leaks")


@asynccontextmanager
async def opened_estate(target: Target | None) -> AsyncGenerator[Estate]:
    """On a target, or the one in memory."""
    if target is None:
        yield FakeEstate()
        return
    async with opened_account(target.paged(2)) as account:
        estate = OpenStackEstate(account, Tenant(target.account), target.control)
        with _leaks_forgotten(target.control):
            yield estate
        await asyncio.to_thread(estate.clear)
