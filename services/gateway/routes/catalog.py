"""The catalog: flavors, images, networks and key pairs, from the read model that sync keeps."""

from typing import Annotated

from fastapi import Query, Request

from contracts.errors import ErrorCode
from services.gateway import documents
from services.gateway.context import Here
from services.gateway.identity.permission import Viewer
from services.gateway.pages import Limit, Marker, Page
from services.gateway.reading import catalog
from services.gateway.resources import Flavor, Image, KeyPair, Network
from services.gateway.routes.guard import guarded

ROUTER = guarded("", "catalog")
Named = Annotated[str | None, Query(max_length=255, description="Exactly this name.")]
_LIST = documents.problems()
_ITEM = documents.problems(ErrorCode.NOT_FOUND)


@ROUTER.get("/flavors", responses=_LIST)
async def list_flavors(
    *,
    request: Request,
    gateway: Here,
    caller: Viewer,
    name: Named = None,
    limit: Limit = 100,
    marker: Marker = None,
) -> Page[Flavor]:
    """List the sizes that VMs can have."""
    part = catalog.Part(gateway.account(caller.project_id), Flavor, name)
    return await catalog.page(gateway, request, part, limit, marker)


@ROUTER.get("/flavors/{flavor_id}", responses=_ITEM)
async def show_flavor(flavor_id: str, gateway: Here, caller: Viewer) -> Flavor:
    """Show a flavor."""
    part = catalog.Part(gateway.account(caller.project_id), Flavor)
    return await catalog.find(gateway, part, flavor_id)


@ROUTER.get("/images", responses=_LIST)
async def list_images(
    *,
    request: Request,
    gateway: Here,
    caller: Viewer,
    name: Named = None,
    limit: Limit = 100,
    marker: Marker = None,
) -> Page[Image]:
    """List the disk images that VMs can be made of."""
    part = catalog.Part(gateway.account(caller.project_id), Image, name)
    return await catalog.page(gateway, request, part, limit, marker)


@ROUTER.get("/images/{image_id}", responses=_ITEM)
async def show_image(image_id: str, gateway: Here, caller: Viewer) -> Image:
    """Show an image."""
    part = catalog.Part(gateway.account(caller.project_id), Image)
    return await catalog.find(gateway, part, image_id)


@ROUTER.get("/networks", responses=_LIST)
async def list_networks(
    *,
    request: Request,
    gateway: Here,
    caller: Viewer,
    name: Named = None,
    limit: Limit = 100,
    marker: Marker = None,
) -> Page[Network]:
    """List the networks that VMs can join."""
    part = catalog.Part(gateway.account(caller.project_id), Network, name)
    return await catalog.page(gateway, request, part, limit, marker)


@ROUTER.get("/keypairs", responses=_LIST)
async def list_keypairs(
    *,
    request: Request,
    gateway: Here,
    caller: Viewer,
    name: Named = None,
    limit: Limit = 100,
    marker: Marker = None,
) -> Page[KeyPair]:
    """List the public keys that VMs can be given."""
    part = catalog.Part(gateway.account(caller.project_id), KeyPair, name)
    return await catalog.page(gateway, request, part, limit, marker)
