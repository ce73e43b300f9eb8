"""How commands are answered: 202 and where to look, or, if the caller waits, the operation's end."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from pydantic_core import to_json
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.identity import Caller
from chassis.problems import Refusal
from chassis.telemetry import bound
from contracts.errors import ErrorCode
from contracts.operation.states import FINAL
from services.gateway import documents
from services.gateway.context import Gateway
from services.gateway.intake import Accepted, Asked
from services.gateway.policy.sharing import seen_among
from services.gateway.reading import operations
from services.gateway.resources import DryRun, Operation
from services.gateway.trial import tried

LOG = logging.getLogger(__name__)
_HEADERS = {
    "Location": {"schema": {"type": "string"}, "description": "The operation."},
    "Preference-Applied": {"schema": {"type": "string"}, "description": "`wait=N`"},
    "Idempotent-Replayed": {
        "schema": {"type": "string"},
        "description": "`true`: an earlier request with this Idempotency-Key made the operation.",
    },
}


def command_responses(*codes: ErrorCode) -> dict[int | str, dict[str, object]]:
    """The `responses` of a route that commands."""
    return {
        200: {
            "model": Operation | DryRun,
            "description": "The operation, ended; or what would become of it.",
            "headers": _HEADERS,
        },
        202: {"model": Operation, "description": "The operation, accepted.", "headers": _HEADERS},
        **documents.problems(*documents.COMMANDED, *codes),
    }


async def read_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="Makes it safe to send the request again: the same key with the same body "
            "gives the same operation, for 24 hours.",
            examples=["5b1f3ba4-6c63-4f23-8f83-5d5f0d1a2c3e"],
        ),
    ] = None,
) -> str | None:
    """The Idempotency-Key of a request."""
    return idempotency_key


Key = Annotated[str | None, Depends(read_key)]


async def accept(
    gateway: Gateway, asked: Asked, wait: timedelta | None, trial: Request | None
) -> Response:
    """Take a command in, and answer with its operation; or only try it, where that is asked."""
    if trial is not None:
        return answer(await tried(gateway, trial, asked))
    accepted = await gateway.desk.accept(asked)
    row = accepted.row
    if row is None:
        async with gateway.database.reading() as session:
            row = await operations.find(session, asked.caller.project_id, accepted.operation_id)
            await _require_seen(session, asked.caller, row)
    with bound(operation_id=row.id, vm_id=row.vm_id):
        LOG.info("%s %s", "replayed" if accepted.replayed else "accepted", row.command)
    told = Response(status_code=202)
    _tell(told, accepted)
    operation = await ended(gateway, operations.shown(row, gateway.shared_clock()), told, wait)
    del told.headers["content-length"]
    return answer(operation, told.headers, told.status_code)


def answer(
    body: BaseModel, headers: Mapping[str, str] | None = None, status: int = 200
) -> Response:
    """What is validated already, as it is sent; FastAPI would validate it once more."""
    return Response(body.model_dump_json(), status, headers, media_type="application/json")


def answer_plain(body: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    """What no model has to be made of: a row of the read model, whose columns have their types."""
    return Response(to_json(body), 200, headers, media_type="application/json")


async def ended(
    gateway: Gateway, operation: Operation, response: Response, wait: timedelta | None
) -> Operation:
    """The operation, once it has ended or the caller will wait no longer."""
    if wait is None:
        return operation
    response.headers["Preference-Applied"] = f"wait={int(wait.total_seconds())}"
    if operation.state not in FINAL:
        await gateway.endings.wait(operation.id, wait)
        operation = await _again(gateway, operation.project_id, operation.id)
    if operation.state in FINAL:
        response.status_code = 200
    return operation


async def _again(gateway: Gateway, project_id: str, operation_id: UUID) -> Operation:
    async with gateway.database.reading() as session:
        row = await operations.find(session, project_id, operation_id)
    return operations.shown(row, gateway.shared_clock())


async def _require_seen(session: AsyncSession, caller: Caller, row: Row[Any]) -> None:
    """A 422 where somebody else made the operation with the same key, whose VM is not shown."""
    if caller.is_private and not await seen_among(session, caller, [row.vm_id]):
        raise Refusal(ErrorCode.KEY_REUSED)


def _tell(response: Response, accepted: Accepted) -> None:
    response.headers["Location"] = f"/v1/operations/{accepted.operation_id}"
    if accepted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
