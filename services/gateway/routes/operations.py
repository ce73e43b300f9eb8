"""Operations: what became of each accepted command; a route for each OperationCommand."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from chassis.identity import Caller
from chassis.telemetry import bound
from contracts.errors import ErrorCode
from contracts.operation.commands import OperationCommand
from contracts.operation.states import OperationState
from services.gateway import documents
from services.gateway.bodies import documented, rest
from services.gateway.context import Here, RequestId
from services.gateway.identity.permission import Viewer, permit
from services.gateway.intake import Asked
from services.gateway.pages import Limit, Marker, Order, Page
from services.gateway.parameters import none_given
from services.gateway.policy.sharing import narrow
from services.gateway.preferences import Wait
from services.gateway.reading import operations
from services.gateway.reading.pages import page_of
from services.gateway.resources import DryRun, Operation
from services.gateway.routes.answers import ended
from services.gateway.routes.guard import guarded
from services.gateway.steering import STEERS
from services.gateway.tables import OPERATIONS
from services.gateway.trial import Trial, tried_steering

LOG = logging.getLogger(__name__)
ROUTER = guarded("/operations", "operations")


@ROUTER.get("", responses=documents.problems())
async def list_operations(
    *,
    request: Request,
    gateway: Here,
    caller: Viewer,
    vm_id: Annotated[UUID | None, Query(description="Of this VM.")] = None,
    state: Annotated[
        list[OperationState], Query(default_factory=none_given, description="One or more.")
    ],
    command: Annotated[
        str | None, Query(max_length=255, description="A wire name.", examples=["vm.reboot.v1"])
    ] = None,
    stuck: Annotated[bool, Query(description="Only those that take too long.")] = False,
    limit: Limit = 100,
    marker: Marker = None,
    total: Annotated[bool, Query(description="Count them all, too.")] = False,
) -> Page[Operation]:
    """List the project's operations, the latest first."""
    now = gateway.shared_clock()
    wanted = operations.OperationFilter(
        caller.project_id, vm_id, frozenset(state), command, stuck_at=now if stuck else None
    )
    shown = partial(operations.shown, now=now)
    order = Order("-created_at", OPERATIONS.c.created_at, OPERATIONS.c.id)
    query = narrow(operations.listed(wanted), caller, OPERATIONS.c.vm_id)
    return await page_of(
        gateway, request, query, order, shown, limit=limit, marker=marker, total=total
    )


@ROUTER.get("/{operation_id}", responses=documents.problems(ErrorCode.NOT_FOUND))
async def show_operation(
    operation_id: UUID, gateway: Here, caller: Viewer, wait: Wait, response: Response
) -> Operation:
    """Show an operation; with `Prefer: wait=N`, once it has ended."""
    async with gateway.database.reading() as session:
        row = await operations.find(session, caller.project_id, operation_id)
    operation = operations.shown(row, gateway.shared_clock())
    return await ended(gateway, operation, response, wait)


def _command(kind: type[OperationCommand]) -> Callable[..., Awaitable[OperationCommand]]:
    async def read_command(request: Request, operation_id: UUID) -> OperationCommand:
        return await rest(kind, request, target=str(operation_id), command="")

    return read_command


def _endpoint(kind: type[OperationCommand]) -> Callable[..., Awaitable[Operation | DryRun]]:
    permitted = Depends(permit(kind.role, kind.permission()))
    command = Depends(_command(kind))

    async def steer(
        *,
        operation_id: UUID,
        request_id: RequestId,
        gateway: Here,
        caller: Annotated[Caller, permitted],
        command: Annotated[OperationCommand, command],
        trial: Trial,
        response: Response,
    ) -> Operation | DryRun:
        intent = f"POST /v1/operations/{operation_id}/{kind.verb()}"
        asked = Asked(caller, command, None, request_id, intent)
        if trial is not None:
            response.status_code = 200
            return await tried_steering(gateway, trial, asked, operation_id)
        async with gateway.database.session() as session:
            await gateway.intake.steer(session, asked, operation_id)
            row = await operations.find(session, caller.project_id, operation_id)
        with bound(operation_id=row.id, vm_id=row.vm_id):
            LOG.info("accepted %s", kind.wire_name())
        return operations.shown(row, gateway.shared_clock())

    return steer


for each in STEERS:
    ROUTER.add_api_route(
        f"/{{operation_id}}/{each.verb()}",
        _endpoint(each),
        methods=["POST"],
        status_code=202,
        name=f"{each.verb()}_operation",
        summary=f"{each.title().capitalize()} an operation",
        description=each.__doc__,
        responses={
            200: {"model": DryRun, "description": "What would become of it."},
            **documents.problems(
                ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE
            ),
        },
        openapi_extra=documented(each, optional=True, given=("target", "command")),
    )
