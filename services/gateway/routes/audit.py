"""The audit trail: served by audit, to whom the gateway vouches for the caller."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from chassis.identity import Caller
from contracts.identity import Role
from services.gateway import documents
from services.gateway.context import Here, RequestId
from services.gateway.identity.permission import permit
from services.gateway.pages import Limit, Marker
from services.gateway.parameters import EventTypes, Moment
from services.gateway.routes.guard import guarded

ROUTER = guarded("/audit", "audit")
Reader = Annotated[Caller, Depends(permit(Role.VIEWER, "audit.read"))]
Verifier = Annotated[Caller, Depends(permit(Role.ADMIN, "audit.verify"))]
_ANSWERS = documents.problems()


def check_filter(
    *,
    type: EventTypes,  # noqa: A002 - the parameter's name on the wire
    vm_id: Annotated[UUID | None, Query(description="About this VM.")] = None,
    operation_id: Annotated[UUID | None, Query(description="Of this operation.")] = None,
    actor: Annotated[str | None, Query(max_length=255, description="Who caused it.")] = None,
    since: Annotated[Moment | None, Query(description="Said at this time or later.")] = None,
    until: Annotated[Moment | None, Query(description="Said before this time.")] = None,
    order: Annotated[Literal["asc", "desc"], Query(description="`asc`: newest last.")] = "asc",
    limit: Limit = 100,
    marker: Marker = None,
) -> None:
    """Check what audit is asked; it gets the query as the caller wrote it."""


@ROUTER.get(
    "",
    responses=_ANSWERS,
    response_model=dict[str, object],
    dependencies=[Depends(check_filter)],
)
async def read_audit(
    request: Request, request_id: RequestId, gateway: Here, caller: Reader
) -> Response:
    """Read the project's trail: everything that was asked and that happened, in order."""
    return await _forward(request, request_id, gateway, caller)


@ROUTER.get("/verify", responses=_ANSWERS, response_model=dict[str, object])
async def verify_audit(
    request: Request, request_id: RequestId, gateway: Here, caller: Verifier
) -> Response:
    """Verify the hash chains of the whole ledger. Only for admins: it reads all of it."""
    return await _forward(request, request_id, gateway, caller)


async def _forward(request: Request, request_id: str, gateway: Here, caller: Caller) -> Response:
    token = gateway.vouching.sign(caller, "audit", gateway.clock())
    query = request.url.query
    answer = await gateway.audit.get(request.url.path, query, token, request_id)
    media_type = answer.headers.get("content-type", "application/json")
    return Response(answer.content, answer.status_code, media_type=media_type)
