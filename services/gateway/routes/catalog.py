"""The catalog: flavors, images, networks and key pairs, from the read model that sync keeps."""

from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request

from contracts.errors import ErrorCode
from services.gateway import documents
from services.gateway.context import Gateway, Here
from services.gateway.identity.permission import Viewer
from services.gateway.pages import Limit, Marker, Page
from services.gateway.reading import catalog
from services.gateway.resources import CatalogItem, Flavor, Image, KeyPair, Network
from services.gateway.routes.guard import guarded

ROUTER = guarded("", "catalog")
ItemT = TypeVar("ItemT", bound=CatalogItem)
_LIST = documents.problems()
_ITEM = documents.problems(ErrorCode.NOT_FOUND)


@dataclass(frozen=True)
class Wanted:
    """Which page of a list a caller asks for."""

    request: Request
    gateway: Gateway
    account: str
    name: str | None
    limit: int
    marker: str | None

    async def page(self, kind: type[ItemT]) -> Page[ItemT]:
        """The page of one kind of item."""
        part = catalog.Part(self.account, kind, self.name)
        return await catalog.page(self.gateway, self.request, part, self.limit, self.marker)


async def read_wanted(
    *,
    request: Request,
    gateway: Here,
    caller: Viewer,
    name: Annotated[str | None, Query(max_length=255, description="Exactly this name.")] = None,
    limit: Limit = 100,
    marker: Marker = None,
) -> Wanted:
    """What every list of the catalog is asked."""
    return Wanted(request, gateway, gateway.account(caller.project_id), name, limit, marker)


Listed = Annotated[Wanted, Depends(read_wanted)]


@ROUTER.get("/flavors", responses=_LIST)
async def list_flavors(wanted: Listed) -> Page[Flavor]:
    """List the sizes that VMs can have."""
    return await wanted.page(Flavor)


@ROUTER.get("/flavors/{flavor_id}", responses=_ITEM)
async def show_flavor(flavor_id: str, gateway: Here, caller: Viewer) -> Flavor:
    """Show a flavor."""
    part = catalog.Part(gateway.account(caller.project_id), Flavor)
    return await catalog.find(gateway, part, flavor_id)


@ROUTER.get("/images", responses=_LIST)
async def list_images(wanted: Listed) -> Page[Image]:
    """List the disk images that VMs can be made of."""
    return await wanted.page(Image)


@ROUTER.get("/images/{image_id}", responses=_ITEM)
async def show_image(image_id: str, gateway: Here, caller: Viewer) -> Image:
    """Show an image."""
    part = catalog.Part(gateway.account(caller.project_id), Image)
    return await catalog.find(gateway, part, image_id)


@ROUTER.get("/networks", responses=_LIST)
async def list_networks(wanted: Listed) -> Page[Network]:
    """List the networks that VMs can join."""
    return await wanted.page(Network)


@ROUTER.get("/keypairs", responses=_LIST)
async def list_keypairs(wanted: Listed) -> Page[KeyPair]:
    """List the public keys that VMs can be given."""
    return await wanted.page(KeyPair)
