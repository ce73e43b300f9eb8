"""All four services in one process: SQLite files, a cloud in memory, and a Kafka that is a list."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from chassis.ids import new_id
from chassis.migrations import migrate
from chassis.outbox import Relay
from chassis.service import Service
from chassis.testing import VirtualClock, hear
from contracts.catalog.events import Flavor, Image, Network
from contracts.message import Body, Message
from contracts.vm.commands import Create
from drivers.base import Driver, Issued, Mark, Resource
from services.audit import app as audit
from services.audit.settings import AuditSettings
from services.gateway import app as gateway
from services.gateway.locks import exclusively
from services.gateway.settings import GatewaySettings
from services.provisioner import app as provisioner
from services.provisioner.app import Provisioner
from services.provisioner.settings import ProvisionerSettings
from services.sync import app as sync
from services.sync.app import SyncService
from services.sync.settings import SyncSettings
from services.sync.sweep import Sweeper
from tests.fakes.driver import FakeCloud, FakeDriver
from tests.property.bus import Bus, Crash

ACCOUNT = "simulator"
KEY = "hk_admin000_" + "a" * 43
SECRET = SecretStr("s" * 32)
CATALOG: tuple[Body, ...] = (
    Flavor(id="f-1", name="m1.nano", vcpus=1, ram_mb=64, disk_gb=1),
    Image(id="i-1", name="tiny", status="active"),
    Network(id="n-1", name="private"),
)
SERVICES = ("gateway", "provisioner", "sync", "audit")
Json = dict[str, Any]


class WatchedDriver(FakeDriver):
    """Notes each create for a mark that a server carries already, which any look would have shown.

    Stragglers are cleared away in time, so that the books at the end would not tell.
    """

    def __init__(self, cloud: FakeCloud, account: str, repeated: list[str]) -> None:
        super().__init__(cloud, account)
        self.repeated = repeated

    async def create(self, mark: Mark, wanted: Create, request_id: str) -> Issued:
        shown = [s for s in self.cloud.shown() if s.mark == mark and s in self.cloud.alive()]
        self.repeated += [f"{s.snapshot.server_id} of vm {mark.vm_id}" for s in shown]
        return await super().create(mark, wanted, request_id)


class World:
    """Nothing runs by itself: each step of each service is taken by whoever holds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.cloud = FakeCloud(self.clock)
        self.repeated: list[str] = []
        """The servers beside which another one was asked for."""
        self.attached: list[Resource] = []
        """What belongs, or belonged, to servers besides themselves."""
        self.bus = Bus()
        self.services: dict[str, Service] = {}
        self._closing: list[Service] = []
        self.gateway = self._gateway()
        for name in SERVICES[1:]:
            self._build(name)
        self.http = self._client()

    async def open(self) -> None:
        """The first key is there, and the gateway has heard what the cloud offers."""
        await self.gateway.first_keys.ensure(exclusively)
        for item in CATALOG:
            await hear(self.gateway.service, self._told(item))

    def _told(self, item: Body) -> Message[Body]:
        return Message(
            id=new_id(),
            source="hostler/sync",
            time=self.clock(),
            subject=ACCOUNT,
            account=ACCOUNT,
            actor="cloud",
            data=item,
        )

    async def close(self) -> None:
        await self.http.aclose()
        for service in [*self.services.values(), *self._closing]:
            await service.database.close()

    @property
    def provisioner(self) -> Provisioner:
        service = self.services["provisioner"]
        assert isinstance(service, Provisioner)
        return service

    @property
    def sync(self) -> SyncService:
        service = self.services["sync"]
        assert isinstance(service, SyncService)
        return service

    @property
    def sweeper(self) -> Sweeper:
        return self.sync.sweepers[ACCOUNT]

    # Processes

    def _driver(self, account: str) -> Driver:
        return WatchedDriver(self.cloud, account, self.repeated)

    def _url(self) -> str:
        return f"sqlite+aiosqlite:///{self.folder}/{{service}}.db"

    def _gateway(self) -> gateway.Gateway:
        settings = GatewaySettings(
            database_url=self._url(),
            internal_secret=SECRET,
            projects={"demo": ACCOUNT},
            first_api_key=SecretStr(KEY),
        )
        made = gateway.build(settings, clock=self.clock, show=lambda _: None)
        self.services["gateway"] = made.service
        return made

    def _audit(self) -> Service:
        key = self.folder / "signing.pem"
        settings = AuditSettings(
            database_url=self._url(), internal_secret=SECRET, signing_key_file=key
        )
        self.audit = audit.build(settings, clock=self.clock)
        return self.audit.service

    def _build(self, name: str) -> None:
        url, clock = self._url(), self.clock
        projects = {"demo": ACCOUNT}
        made: dict[str, Callable[[], Service]] = {
            "provisioner": lambda: provisioner.build(
                ProvisionerSettings(database_url=url, internal_secret=SECRET),
                clock=clock,
                drivers=self._driver,
                random=lambda: 1.0,
            ),
            "sync": lambda: sync.build(
                SyncSettings(database_url=url, internal_secret=SECRET, projects=projects),
                clock=clock,
                drivers=self._driver,
            ),
            "audit": self._audit,
        }
        self.services[name] = made[name]()

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.gateway.app),
            base_url="http://gateway",
            headers={"X-API-Key": KEY},
        )

    async def kill(self, name: str) -> None:
        """The process is gone with all that it knew, its leases too run out; a new one is there."""
        self._closing.append(self.services[name])
        if name == "gateway":
            await self.http.aclose()
            self.gateway = self._gateway()
            self.http = self._client()
        else:
            self._build(name)

    # Kafka

    async def relay(self, name: str, dies_after: int | None = None) -> int:
        """Publish what waits in a service's outbox; or die behind so many records, and come again."""
        service = self.services[name]
        self.bus.fails_after = dies_after
        try:
            return await Relay(service.database, self.bus, service.lease("relay")).publish_some()
        except Crash:
            await self.kill(name)
            return 0
        finally:
            self.bus.fails_after = None

    async def deliver(
        self, name: str, choose: Callable[[int], int], most: int, *, dies: bool = False
    ) -> int:
        """Have a service take some records of one key. If it dies before it commits, they come again."""
        service = self.services[name]
        places = self.bus.waiting(service)
        if not places:
            return 0
        place = places[choose(len(places))]
        records = self.bus.next(service, place, most)
        for consumer in service.consumers:
            if consumer.topic.name == place[0]:
                await consumer.consume(records)
        if dies:
            await self.kill(name)
        else:
            self.bus.commit(service, place, len(records))
        return len(records)

    async def settle_messages(self) -> int:
        """Publish and deliver everything; how many records that was."""
        moved = 0
        while True:
            some = sum([await self.relay(name) for name in SERVICES])
            for name in SERVICES:
                while came := await self.deliver(name, partial(min, 0), 100):
                    some += came
            if not some:
                return moved
            moved += some

    # Work

    async def work(self) -> int:
        """Have the provisioner carry out what is due."""
        return await self.provisioner.worker.step()

    async def claim_and_die(self, *, after_the_call: bool) -> None:
        """A worker takes what is due, perhaps has the cloud do it, and is gone."""
        worker = self.provisioner.worker
        for claimed in await worker.claim():
            if after_the_call:
                await worker.attempt(claimed)
        await self.kill("provisioner")

    async def ask(self, method: str, path: str, key: str, body: Json | None = None) -> Any:
        """One request, as a client makes it."""
        return await self.http.request(method, path, json=body, headers={"Idempotency-Key": key})

    async def pages(self, path: str) -> list[Json]:
        found: list[Json] = []
        following: str | None = path
        while following:
            page = (await self.http.get(following)).raise_for_status().json()
            found += page["items"]
            following = page["links"]["next"]
        return found


async def make_template(folder: Path) -> None:
    """Empty databases of all services, to be copied for each world."""
    world = World(folder)
    for service in world.services.values():
        await migrate(service.database)
    await world.open()
    await world.close()


def copy(template: Path, folder: Path) -> None:
    for file in template.glob("*.db*"):
        shutil.copy(file, folder)


def fresh_key() -> str:
    return str(new_id())
