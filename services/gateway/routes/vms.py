"""Virtual machines: create, list, show, change, delete."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from chassis.identity import Caller
from contracts.errors import ErrorCode
from contracts.vm.commands import Create, Delete, Update
from contracts.vm.states import VmState
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Here, RequestId, gateway_of, request_id_of
from services.gateway.etags import IfMatch, etag
from services.gateway.identity.permission import Viewer, permit
from services.gateway.intake import Asked
from services.gateway.pages import Limit, Marker, Order, Page
from services.gateway.parameters import Moment, none_given
from services.gateway.policy.sharing import narrow
from services.gateway.preferences import Wait
from services.gateway.reading import vms
from services.gateway.reading.pages import page_of
from services.gateway.resources import Operation, Vm
from services.gateway.routes import history
from services.gateway.routes.answers import (
    Key,
    accept,
    answer,
    answer_plain,
    command_responses,
)
from services.gateway.routes.guard import guarded
from services.gateway.tables import VMS
from services.gateway.trial import Trial

ROUTER = guarded("/vms", "vms")
Sort = Literal["created_at", "-created_at", "updated_at", "-updated_at", "name", "-name"]
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "Send it as If-Match."}}


@ROUTER.post(
    "",
    status_code=202,
    response_model=Operation,
    responses=command_responses(),
    openapi_extra=documented(Create),
)
async def create_vm(
    *,
    request_id: RequestId,
    gateway: Here,
    caller: Annotated[Caller, Depends(permit(Create.role, Create.permission()))],
    command: Annotated[Create, Depends(body(Create))],
    key: Key,
    wait: Wait,
    trial: Trial,
) -> Response:
    """Create a VM.

    Flavor, image, networks and key pair are named by id or by name. Without `networks` the
    project's only network is joined; where there are several, one has to be named.
    """
    asked = Asked(caller, command, None, request_id, "POST /v1/vms", key)
    return await accept(gateway, asked, wait, trial)


async def read_filter(
    *,
    gateway: Here,
    caller: Viewer,
    state: Annotated[list[VmState], Query(default_factory=none_given, description="One or more.")],
    tag: Annotated[
        list[str], Query(default_factory=none_given, max_length=48, description="All of them.")
    ],
    name: Annotated[str | None, Query(max_length=255, description="Part of the name.")] = None,
    flavor: Annotated[str | None, Query(max_length=255, description="Id or name.")] = None,
    image: Annotated[str | None, Query(max_length=255, description="Id or name.")] = None,
    changed_since: Annotated[
        Moment | None, Query(description="Shown differently since then; ISO 8601 with a zone.")
    ] = None,
    deleted: Annotated[bool, Query(description="Deleted ones, too.")] = False,
) -> vms.VmFilter:
    """Which VMs a caller wants to see."""
    return vms.VmFilter(
        project_id=caller.project_id,
        account=gateway.account(caller.project_id),
        states=frozenset(state),
        name=name,
        flavor=flavor,
        image=image,
        tags=frozenset(tag),
        changed_since=changed_since,
        deleted=deleted,
    )


@ROUTER.get("", response_model=Page[Vm], responses=documents.problems())
async def list_vms(
    *,
    request: Request,
    gateway: Here,
    caller: Viewer,
    wanted: Annotated[vms.VmFilter, Depends(read_filter)],
    limit: Limit = 100,
    marker: Marker = None,
    sort: Sort = "-created_at",
    total: Annotated[bool, Query(description="Count them all, too.")] = False,
) -> Response:
    """List the project's VMs, without deleted ones unless asked for."""
    order = Order(sort, VMS.c[sort.removeprefix("-")], VMS.c.id)
    query = narrow(vms.listed(wanted), caller, VMS.c.id)
    page = await page_of(
        gateway, request, query, order, vms.plain, limit=limit, marker=marker, total=total
    )
    return answer(page)


@ROUTER.get(
    "/{vm_id}",
    response_model=Vm | history.PastVm,
    responses={200: {"headers": _ETAG}, **documents.problems(ErrorCode.NOT_FOUND)},
)
async def show_vm(
    *,
    vm_id: UUID,
    request: Request,
    caller: Viewer,
    at: Annotated[Moment | None, Query(description="As it was then; ISO 8601.")] = None,
) -> Response:
    """Show a VM, with the operation under way; with `at`, what was last seen of it by then."""
    gateway = gateway_of(request)  # asked for most often: each dependency costs as much as this
    if at is not None:
        return await history.show_at(gateway, caller, vm_id, at, request_id_of(request))
    async with gateway.database.reading() as session:
        row = await vms.find(session, caller.project_id, vm_id)
    return answer_plain(vms.plain(row), {"ETag": etag(row.revision)})


@ROUTER.patch(
    "/{vm_id}",
    status_code=202,
    response_model=Operation,
    responses=command_responses(ErrorCode.PRECONDITION_FAILED),
    openapi_extra=documented(Update),
)
async def update_vm(
    *,
    vm_id: UUID,
    request_id: RequestId,
    gateway: Here,
    caller: Annotated[Caller, Depends(permit(Update.role, Update.permission()))],
    command: Annotated[Update, Depends(body(Update))],
    if_match: IfMatch,
    key: Key,
    wait: Wait,
    trial: Trial,
) -> Response:
    """Change a VM's name, description, metadata or tags; what is left out stays."""
    asked = Asked(caller, command, vm_id, request_id, f"PATCH /v1/vms/{vm_id}", key, if_match)
    return await accept(gateway, asked, wait, trial)


@ROUTER.delete(
    "/{vm_id}",
    status_code=202,
    response_model=Operation,
    responses=command_responses(ErrorCode.PRECONDITION_FAILED),
)
async def delete_vm(
    *,
    vm_id: UUID,
    request_id: RequestId,
    gateway: Here,
    caller: Annotated[Caller, Depends(permit(Delete.role, Delete.permission()))],
    if_match: IfMatch,
    key: Key,
    wait: Wait,
    trial: Trial,
) -> Response:
    """Delete a VM and everything that was made for it."""
    asked = Asked(caller, Delete(), vm_id, request_id, f"DELETE /v1/vms/{vm_id}", key, if_match)
    return await accept(gateway, asked, wait, trial)
