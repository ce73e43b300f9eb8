"""What an account offers: Nova's flavors and key pairs, Glance's images, Neutron's networks."""

from collections.abc import AsyncIterator
from datetime import datetime

from pydantic import BaseModel, Field

from chassis.errors import HostlerError
from contracts.catalog import events
from contracts.vm.states import CloudWord
from drivers.governor import Lane
from drivers.openstack.calls import Call, Service
from drivers.openstack.cloud import Cloud
from drivers.openstack.pages import Link, Page, marker_in, next_marker, pages


class _Flavor(BaseModel):
    id: CloudWord
    name: CloudWord
    vcpus: int
    ram: int
    disk: int
    ephemeral: int = Field(0, alias="OS-FLV-EXT-DATA:ephemeral")
    swap: int | str = 0
    public: bool = Field(True, alias="os-flavor-access:is_public")
    description: str | None = None

    def item(self) -> events.Flavor:
        return events.Flavor(
            id=self.id,
            name=self.name,
            vcpus=self.vcpus,
            ram_mb=self.ram,
            disk_gb=self.disk,
            ephemeral_gb=self.ephemeral,
            swap_mb=int(self.swap or 0),  # "" before microversion 2.75
            public=self.public,
            description=self.description,
        )


class _Image(BaseModel):
    id: CloudWord
    name: CloudWord | None = None
    status: str
    visibility: str | None = None
    size: int | None = None
    min_disk: int = 0
    min_ram: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def item(self) -> events.Image:
        return events.Image(
            id=self.id,
            name=self.name or "",
            status=self.status,
            visibility=self.visibility,
            size_bytes=self.size,
            min_disk_gb=self.min_disk,
            min_ram_mb=self.min_ram,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


class _Network(BaseModel):
    id: CloudWord
    name: CloudWord = ""
    status: str | None = None
    external: bool = Field(False, alias="router:external")
    shared: bool = False
    mtu: int | None = None
    subnets: list[str] = Field(default_factory=list)

    def item(self) -> events.Network:
        return events.Network(
            id=self.id,
            name=self.name,
            status=self.status,
            external=self.external,
            shared=self.shared,
            mtu=self.mtu,
            subnets=tuple(sorted(self.subnets)),
        )


class _KeyPair(BaseModel):
    name: CloudWord
    fingerprint: str | None = None
    type: str = "ssh"

    def item(self) -> events.KeyPair:
        return events.KeyPair(
            id=self.name, name=self.name, fingerprint=self.fingerprint, kind=self.type
        )


class _KeyPairBox(BaseModel):
    keypair: _KeyPair

    def item(self) -> events.KeyPair:
        return self.keypair.item()


class _Flavors(Page):
    items: list[_Flavor] = Field(alias="flavors")
    links: list[Link] = Field(default_factory=list[Link], alias="flavors_links")

    def marker(self) -> str | None:
        return next_marker(self.links)


class _Images(Page):
    items: list[_Image] = Field(alias="images")
    next: str | None = None

    def marker(self) -> str | None:
        return marker_in(self.next)


class _Networks(Page):
    items: list[_Network] = Field(alias="networks")
    links: list[Link] = Field(default_factory=list[Link], alias="networks_links")

    def marker(self) -> str | None:
        return next_marker(self.links)


class _KeyPairs(Page):
    items: list[_KeyPairBox] = Field(alias="keypairs")
    links: list[Link] = Field(default_factory=list[Link], alias="keypairs_links")

    def marker(self) -> str | None:
        return next_marker(self.links)


async def catalog(cloud: Cloud) -> AsyncIterator[events.CatalogEvent]:
    """Every item that can be had. A list that fails hides no other: its failure comes at the end."""
    failure: HostlerError | None = None
    for items in (_flavors, _images, _networks, _key_pairs):
        try:
            async for item in items(cloud):
                yield item
        except HostlerError as error:
            failure = failure or error
    if failure is not None:
        raise failure


async def _flavors(cloud: Cloud) -> AsyncIterator[events.CatalogEvent]:
    async for page in pages(cloud, _listing("compute", "/flavors/detail"), _Flavors):
        for flavor in page.items:
            yield flavor.item()


async def _images(cloud: Cloud) -> AsyncIterator[events.CatalogEvent]:
    async for page in pages(cloud, _listing("image", "/images"), _Images):
        for image in page.items:
            yield image.item()


async def _networks(cloud: Cloud) -> AsyncIterator[events.CatalogEvent]:
    async for page in pages(cloud, _listing("network", "/networks"), _Networks):
        for network in page.items:
            yield network.item()


async def _key_pairs(cloud: Cloud) -> AsyncIterator[events.CatalogEvent]:
    async for page in pages(cloud, _listing("compute", "/os-keypairs"), _KeyPairs):
        for pair in page.items:
            yield pair.item()


def _listing(service: Service, path: str) -> Call:
    return Call(service, "GET", path, lane=Lane.SWEEP)
