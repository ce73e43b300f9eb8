"""The audit trail: served by audit, to whom the gateway vouches for the caller."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from chassis.identity import Caller
from contracts.errors import ErrorCode
from contracts.identity import Role
from services.gateway import documents
from services.gateway.context import Gateway, Here, RequestId
from services.gateway.identity.permission import permit
from services.gateway.pages import Limit, Marker
from services.gateway.parameters import EventTypes, Moment
from services.gateway.policy.trail import seen_trail
from services.gateway.routes.guard import guarded

ROUTER = guarded("/audit", "audit")
Reader = Annotated[Caller, Depends(permit(Role.VIEWER, "audit.read"))]
Verifier = Annotated[Caller, Depends(permit(Role.ADMIN, "audit.verify"))]
Outcome = Literal["intended", "done", "refused", "succeeded", "failed", "cancelled", "timeout"]
Said = Annotated[str, Field(min_length=1, max_length=255)]
_ANSWERS = documents.problems()
_PASSED = ("content-type", "location", "retry-after")


def check_narrowing(
    *,
    type: EventTypes,  # noqa: A002 - the parameter's name on the wire
    vm_id: Annotated[UUID | None, Query(description="About this VM.")] = None,
    operation_id: Annotated[UUID | None, Query(description="Of this operation.")] = None,
    actor: Annotated[str | None, Query(max_length=255, description="Who caused it.")] = None,
    target: Annotated[
        Said | None, Query(description="What it is about: the id of a thing.")
    ] = None,
    permission: Annotated[
        str | None,
        Query(
            max_length=100,
            pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*)?$",
            description="What was asked for; `vm.*` stands for all of a kind.",
        ),
    ] = None,
    outcome: Annotated[
        Outcome | None,
        Query(
            description="How it went; `timeout`: a command of which no end is known to this day."
        ),
    ] = None,
    credential: Annotated[Said | None, Query(description="With which one, e.g. `key:ID`.")] = None,
    address: Annotated[Said | None, Query(description="From where.")] = None,
    request_id: Annotated[Said | None, Query(description="By which request, `req-…`.")] = None,
    format: Annotated[  # noqa: A002 - the parameter's name on the wire
        Literal["hostler", "ocsf"], Query(description="`ocsf`: as events of OCSF 1.1.0.")
    ] = "hostler",
    since: Annotated[Moment | None, Query(description="Said at this time or later.")] = None,
    until: Annotated[Moment | None, Query(description="Said before this time.")] = None,
) -> None:
    """Check what audit is asked; it gets the query as the caller wrote it."""


def check_page(
    *,
    order: Annotated[Literal["asc", "desc"], Query(description="`asc`: newest last.")] = "asc",
    limit: Limit = 100,
    marker: Marker = None,
) -> None:
    """The same for a page."""


def check_kind(
    *,
    full: Annotated[
        bool, Query(description="From the oldest rows on, not from where a walk was before.")
    ] = False,
) -> None:
    """The same for a verification that is asked for."""


def check_id(*, verification_id: UUID) -> None:
    """The same for one that is shown."""


@ROUTER.get(
    "",
    responses=_ANSWERS,
    response_model=dict[str, object],
    dependencies=[Depends(check_narrowing), Depends(check_page)],
)
async def read_audit(
    request: Request, request_id: RequestId, gateway: Here, caller: Reader
) -> Response:
    """Read the project's trail: everything that was asked and that happened, in order."""
    return await _forward(request, request_id, gateway, caller)


@ROUTER.get(
    "/export",
    responses={200: {"content": {"application/x-ndjson": {}}}, **_ANSWERS},
    response_class=Response,
    dependencies=[Depends(check_narrowing)],
)
async def export_audit(
    request: Request, request_id: RequestId, gateway: Here, caller: Reader
) -> Response:
    """Export the project's trail as NDJSON, chain by chain.

    One entry a line; the last line is `{"count": n, "sha256": …}`, of all lines before it. A stream
    without it broke off.
    """
    token = gateway.vouching.sign(caller, "audit", gateway.clock())
    query = await seen_trail(gateway, caller, request)
    chunks = gateway.audit.stream(request.url.path, query, token, request_id)
    media_type = (await anext(chunks)).decode()
    return StreamingResponse(_rest(chunks), media_type=media_type)


async def _rest(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk


@ROUTER.get(
    "/verify",
    responses=_ANSWERS,
    response_model=dict[str, object],
    dependencies=[Depends(check_kind)],
)
async def verify_audit(
    request: Request, request_id: RequestId, gateway: Here, caller: Verifier
) -> Response:
    """Verify the whole ledger: what the last full walk found, and what has come since.

    Only for admins, as it tells of all projects. With `full=true` all of it is read again; where
    that takes longer than a request may, the answer is a 503 that names the verification.
    """
    return await _forward(request, request_id, gateway, caller)


@ROUTER.post(
    "/verifications",
    status_code=202,
    responses=_ANSWERS,
    response_model=dict[str, object],
    dependencies=[Depends(check_kind)],
)
async def begin_verification(
    request: Request, request_id: RequestId, gateway: Here, caller: Verifier
) -> Response:
    """Verify the ledger in the background; a walk of that kind that is under way is the answer."""
    return await _forward(request, request_id, gateway, caller)


@ROUTER.get(
    "/verifications/{verification_id}",
    responses=documents.problems(ErrorCode.NOT_FOUND),
    response_model=dict[str, object],
    dependencies=[Depends(check_id)],
)
async def show_verification(
    request: Request,
    request_id: RequestId,
    gateway: Here,
    caller: Verifier,
) -> Response:
    """Show how far a verification has come, and what it came to."""
    return await _forward(request, request_id, gateway, caller)


@ROUTER.get("/keys", responses=_ANSWERS, response_model=dict[str, object])
async def show_audit_keys(
    request: Request, request_id: RequestId, gateway: Here, caller: Reader
) -> Response:
    """Show the public keys that the ledger's checkpoints are signed with (a JWK set)."""
    return await _forward(request, request_id, gateway, caller)


async def _forward(request: Request, request_id: str, gateway: Gateway, caller: Caller) -> Response:
    token = gateway.vouching.sign(caller, "audit", gateway.clock())
    path, query = request.url.path, await seen_trail(gateway, caller, request)
    answer = await gateway.audit.ask(path, query, token, request_id, method=request.method)
    headers = {name: answer.headers[name] for name in _PASSED if name in answer.headers}
    return Response(answer.content, answer.status_code, headers)
