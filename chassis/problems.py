"""Errors over HTTP: RFC 9457 problem+json with `code`, `request_id` and, for fields, `errors[]`."""

import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ExceptionHandler

from chassis.database import is_outage
from chassis.errors import HostlerError, Retry
from contracts.errors import MEANINGS, ErrorCode

LOG = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
OUTAGE_RETRY_SECONDS = 5
_BY_STATUS = {
    400: ErrorCode.BAD_REQUEST,
    401: ErrorCode.UNAUTHENTICATED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    406: ErrorCode.NOT_ACCEPTABLE,
    408: ErrorCode.BODY_TIMEOUT,
    413: ErrorCode.TOO_LARGE,
    415: ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    429: ErrorCode.RATE_LIMITED,
    431: ErrorCode.HEADERS_TOO_LARGE,
    503: ErrorCode.UNAVAILABLE,
}


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="Dotted path, e.g. `body.networks.0`.")
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(examples=["https://hostler.dev/problems/state_conflict"])
    title: str
    status: int
    detail: str
    code: ErrorCode
    request_id: str
    errors: list[FieldError] = Field(default_factory=list[FieldError])


class Refusal(HostlerError):
    """A HostlerError with what a problem can say beyond its code: fields, headers, members."""

    def __init__(
        self,
        code: ErrorCode,
        detail: str = "",
        *,
        errors: list[FieldError] | None = None,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(code, detail)
        self.errors = errors or []
        self.headers = headers or {}
        self.members = members


def invalid(field: str, message: str) -> Refusal:
    """A 400 that names the one field that is wrong."""
    return Refusal(ErrorCode.INVALID, message, errors=[FieldError(field=field, message=message)])


def problem(
    request: Request,
    code: ErrorCode,
    detail: str = "",
    *,
    errors: list[FieldError] | None = None,
    headers: dict[str, str] | None = None,
    **members: Any,
) -> JSONResponse:
    """The response that tells of an error. `members` are further problem members."""
    meaning = MEANINGS[code]
    request.state.problem = code
    body = Problem(
        type=f"https://hostler.dev/problems/{code}",
        title=meaning.sentence,
        status=meaning.status,
        detail=detail or meaning.sentence,
        code=code,
        request_id=getattr(request.state, "request_id", ""),
        errors=errors or [],
    )
    return JSONResponse(
        {**body.model_dump(mode="json"), **members},
        meaning.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def install(app: FastAPI) -> None:
    """Have every error of an app told as a problem."""
    handlers: dict[type[Exception], Any] = {
        HostlerError: _on_hostler_error,
        RequestValidationError: _on_validation,
        HTTPException: _on_http,
        SQLAlchemyError: _on_any,
        ConnectionError: _on_any,
        ClientDisconnect: _on_any,
        Exception: _on_any,
    }
    for kind, handler in handlers.items():
        typed: ExceptionHandler = handler
        app.add_exception_handler(kind, typed)


def told(request: Request, error: HostlerError) -> JSONResponse:
    """The response that tells of a failure with a code."""
    if isinstance(error, Refusal):
        return problem(
            request,
            error.code,
            error.detail,
            errors=error.errors,
            headers=error.headers,
            **error.members,
        )
    after = error.after if isinstance(error, Retry) else None
    headers = {"Retry-After": str(math.ceil(after.total_seconds()))} if after else None
    return problem(request, error.code, error.detail, headers=headers)


async def _on_hostler_error(request: Request, error: HostlerError) -> JSONResponse:
    return told(request, error)


async def _on_validation(request: Request, error: RequestValidationError) -> JSONResponse:
    errors = [
        FieldError(
            field=".".join(map(str, each["loc"])),
            message=str(each["msg"]).removeprefix("Value error, "),
        )
        for each in error.errors()
    ]
    unreadable = any(each["type"] == "json_invalid" for each in error.errors())
    code = ErrorCode.BAD_REQUEST if unreadable else ErrorCode.INVALID
    said = "; ".join(f"{e.field}: {e.message}" for e in errors[:3])
    return problem(request, code, said, errors=errors)


async def _on_http(request: Request, error: HTTPException) -> JSONResponse:
    code = _BY_STATUS.get(error.status_code)
    if code is None:
        code = ErrorCode.INTERNAL if error.status_code >= 500 else ErrorCode.BAD_REQUEST  # noqa: PLR2004
    return problem(request, code, headers=dict(error.headers or {}))


async def _on_any(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, ClientDisconnect):
        LOG.info("the client hung up in the middle of its request")
        return problem(request, ErrorCode.BAD_REQUEST)
    if is_outage(error):
        LOG.warning("a dependency is out: %s", error)
        headers = {"Retry-After": str(OUTAGE_RETRY_SECONDS)}
        return problem(request, ErrorCode.UNAVAILABLE, headers=headers)
    LOG.error("unhandled", exc_info=error)
    return problem(request, ErrorCode.INTERNAL)
