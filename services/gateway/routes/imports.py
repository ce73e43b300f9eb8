"""Importing servers that Hostler did not make."""

import logging
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import act_as_service
from chassis.identity import Caller
from chassis.problems import Refusal
from contracts.errors import ErrorCode
from contracts.vm.commands import Import
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Here, RequestId
from services.gateway.identity.permission import permit
from services.gateway.imports import ImportServers, Wanted, take_in
from services.gateway.pages import Page, links
from services.gateway.policy.sharing import seen_among
from services.gateway.reading import operations
from services.gateway.resources import DryRun, Operation
from services.gateway.routes.answers import Key
from services.gateway.routes.guard import guarded
from services.gateway.trial import Trial, tried_import

LOG = logging.getLogger(__name__)
ROUTER = guarded("/vms", "inventory")
Admin = Annotated[Caller, Depends(permit(Import.role, Import.permission()))]
_CODES = (
    ErrorCode.NOT_FOUND,
    ErrorCode.CONFLICT,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.KEY_REUSED,
)


@ROUTER.post(
    "/import",
    status_code=202,
    responses={
        200: {"model": DryRun, "description": "What would become of it."},
        **documents.problems(*_CODES),
    },
    openapi_extra=documented(ImportServers),
)
async def import_servers(
    *,
    request: Request,
    request_id: RequestId,
    gateway: Here,
    caller: Admin,
    wanted: Annotated[ImportServers, Depends(body(ImportServers))],
    key: Key,
    response: Response,
    trial: Trial,
) -> Page[Operation] | DryRun:
    """Take servers in that somebody else made, without touching them: one operation for each.

    All that are named or none: 404 and 409 say which are unknown, or a VM already. A filter takes
    what it finds, which may be nothing. An unmanaged server belongs to no project, also where
    several share an account; hence only admins import, each into their own project.
    """
    asked = Wanted(caller, gateway.account(caller.project_id), wanted, request_id, key)
    act_as_service()  # a server that is another project's VM is to be known as one
    if trial is not None:
        response.status_code = 200
        return await tried_import(gateway, trial, asked)
    async with gateway.database.session() as session:
        taken = await take_in(session, gateway.intake, asked)
        rows = await operations.find_all(session, caller.project_id, taken.operations)
        await _require_own(session, caller, rows)
    LOG.info("%s %d imports", "replayed" if taken.replayed else "accepted", len(rows))
    if taken.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    now = gateway.clock()
    return Page(items=[operations.shown(row, now) for row in rows], links=links(request, None))


async def _require_own(session: AsyncSession, caller: Caller, rows: Sequence[Row[Any]]) -> None:
    """A 422 where somebody else used the same key, whose VMs are not shown."""
    ids = frozenset(UUID(str(row.vm_id)) for row in rows)
    if caller.is_private and await seen_among(session, caller, ids) != ids:
        raise Refusal(ErrorCode.KEY_REUSED)
