"""The audit trail: served by audit, to whom the gateway vouches for the caller."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from chassis.identity import Caller
from contracts.errors import ErrorCode
from contracts.identity import Role
from services.gateway import documents
from services.gateway.context import Here, RequestId
from services.gateway.identity.permission import permit

# Not guarded: audit knows its own parameters and refuses the others by itself.
ROUTER = APIRouter(prefix="/v1/audit", tags=["audit"])
Reader = Annotated[Caller, Depends(permit(Role.VIEWER, "audit.read"))]
Verifier = Annotated[Caller, Depends(permit(Role.VIEWER, "audit.verify"))]
_ANSWERS = documents.problems(ErrorCode.NOT_FOUND)


@ROUTER.get("", responses=_ANSWERS, response_model=dict[str, object])
async def read_audit(
    request: Request, request_id: RequestId, gateway: Here, caller: Reader
) -> Response:
    """Read the project's trail: everything that was asked and that happened, in order."""
    return await _forward(request, request_id, gateway, caller)


@ROUTER.get("/verify", responses=_ANSWERS, response_model=dict[str, object])
async def verify_audit(
    request: Request, request_id: RequestId, gateway: Here, caller: Verifier
) -> Response:
    """Verify the hash chain of the project's trail."""
    return await _forward(request, request_id, gateway, caller)


async def _forward(request: Request, request_id: str, gateway: Here, caller: Caller) -> Response:
    token = gateway.vouching.sign(caller, "audit", gateway.clock())
    query = request.url.query
    answer = await gateway.audit.get(request.url.path, query, token, request_id)
    media_type = answer.headers.get("content-type", "application/json")
    return Response(answer.content, answer.status_code, media_type=media_type)
