"""Operations: what became of each accepted command, and how to stop one."""

import logging
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from chassis.identity import Caller
from chassis.telemetry import bound
from contracts.errors import ErrorCode
from contracts.operation.commands import Cancel
from contracts.operation.states import OperationState
from services.gateway import documents
from services.gateway.context import Here, RequestId
from services.gateway.identity.permission import Viewer, permit
from services.gateway.intake import Asked, cancelling
from services.gateway.pages import Limit, Marker, Order, Page
from services.gateway.preferences import Wait
from services.gateway.reading import operations
from services.gateway.reading.pages import page_of
from services.gateway.resources import Operation
from services.gateway.routes.answers import ended
from services.gateway.routes.guard import guarded
from services.gateway.tables import OPERATIONS

LOG = logging.getLogger(__name__)
ROUTER = guarded("/operations", "operations")


@ROUTER.get("", responses=documents.problems())
async def list_operations(
    *,
    request: Request,
    gateway: Here,
    caller: Viewer,
    vm_id: Annotated[UUID | None, Query(description="Of this VM.")] = None,
    state: Annotated[list[OperationState], Query(default_factory=list, description="One or more.")],
    command: Annotated[
        str | None, Query(max_length=255, description="A wire name.", examples=["vm.reboot.v1"])
    ] = None,
    limit: Limit = 100,
    marker: Marker = None,
    total: Annotated[bool, Query(description="Count them all, too.")] = False,
) -> Page[Operation]:
    """List the project's operations, the latest first."""
    wanted = operations.OperationFilter(caller.project_id, vm_id, frozenset(state), command)
    order = Order("-created_at", OPERATIONS.c.created_at, OPERATIONS.c.id)
    query = operations.listed(wanted)
    return await page_of(
        gateway, request, query, order, operations.shown, limit=limit, marker=marker, total=total
    )


@ROUTER.get("/{operation_id}", responses=documents.problems(ErrorCode.NOT_FOUND))
async def show_operation(
    operation_id: UUID, gateway: Here, caller: Viewer, wait: Wait, response: Response
) -> Operation:
    """Show an operation; with `Prefer: wait=N`, once it has ended."""
    async with gateway.database.reading() as session:
        row = await operations.find(session, caller.project_id, operation_id)
    return await ended(gateway, operations.shown(row), response, wait)


@ROUTER.post(
    "/{operation_id}/cancel",
    status_code=202,
    responses=documents.problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT),
)
async def cancel_operation(
    operation_id: UUID,
    request_id: RequestId,
    gateway: Here,
    caller: Annotated[Caller, Depends(permit(Cancel.role, Cancel.permission()))],
) -> Operation:
    """Stop an operation before it is started; a create can also be undone while it is under way."""
    command = cancelling(operation_id)
    intent = f"POST /v1/operations/{operation_id}/cancel"
    asked = Asked(caller, command, None, request_id, intent)
    async with gateway.database.session() as session:
        await gateway.intake.cancel(session, asked, operation_id)
        row = await operations.find(session, caller.project_id, operation_id)
    with bound(operation_id=row.id, vm_id=row.vm_id):
        LOG.info("accepted %s", Cancel.wire_name())
    return operations.shown(row)
