"""What the project's account holds that is no VM's: orphans, and servers that Hostler does not know."""

from functools import partial
from typing import Annotated

from fastapi import Depends, Query, Request

from chassis.identity import Caller
from contracts.identity import Role
from contracts.vm.states import VmState
from services.gateway import documents
from services.gateway.context import Here
from services.gateway.identity.permission import permit
from services.gateway.pages import Limit, Marker, Order, Page
from services.gateway.parameters import none_given
from services.gateway.reading import inventory
from services.gateway.reading.pages import page_of
from services.gateway.resources import Orphan, UnmanagedServer
from services.gateway.routes.guard import guarded
from services.gateway.tables import ORPHANS, UNMANAGED

ROUTER = guarded("", "inventory")
Admin = Annotated[Caller, Depends(permit(Role.ADMIN, "orphan.read"))]
Operator = Annotated[Caller, Depends(permit(Role.OPERATOR, "unmanaged.read"))]
_FOUND = Order("found_at", ORPHANS.c.found_at, ORPHANS.c.id)
_NAME = Order("name", UNMANAGED.c.name, UNMANAGED.c.id)


@ROUTER.get("/orphans", responses=documents.problems())
async def list_orphans(
    request: Request, gateway: Here, caller: Admin, limit: Limit = 100, marker: Marker = None
) -> Page[Orphan]:
    """List what Hostler made in the cloud and no VM has any more, the oldest first."""
    settings = gateway.settings
    query = inventory.orphans(gateway.account(caller.project_id), caller.project_id)
    grace = settings.orphan_grace if settings.orphans == "remove" else None
    shown = partial(inventory.orphan, grace=grace)
    return await page_of(gateway, request, query, _FOUND, shown, limit=limit, marker=marker)


@ROUTER.get("/unmanaged", responses=documents.problems())
async def list_unmanaged(
    *,
    request: Request,
    gateway: Here,
    caller: Operator,
    state: Annotated[list[VmState], Query(default_factory=none_given, description="One or more.")],
    name: Annotated[
        str | None,
        Query(max_length=255, description="With `*` and `?`; upper and lower case are the same."),
    ] = None,
    limit: Limit = 100,
    marker: Marker = None,
) -> Page[UnmanagedServer]:
    """List the servers of the project's cloud account that Hostler does not know, by name.

    Projects that share an account see the same ones: they are no project's.
    """
    account = gateway.account(caller.project_id)
    query = inventory.ServerFilter(account, name, frozenset(state)).query()
    return await page_of(
        gateway, request, query, _NAME, inventory.server, limit=limit, marker=marker
    )
