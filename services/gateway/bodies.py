"""Request bodies: strict JSON, read whole only within the limit, every field accounted for."""

import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar, cast

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from chassis.errors import Terminal
from chassis.problems import invalid
from contracts.errors import ErrorCode

BodyT = TypeVar("BodyT", bound=BaseModel)
MEDIA_TYPE = "application/json"
_SHOWN_ERRORS = 20
_SHOWN_LENGTH = 100
_OBJECT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


def body(kind: type[BodyT], *, optional: bool = False) -> Callable[[Request], Awaitable[BodyT]]:
    """A dependency: the body as `kind`; nothing is `{}` where `optional`.

    Read by pydantic's own parser, which refuses what Python's lets through: lone surrogates, deep
    nesting, bytes that are not UTF-8; Python's then tells of a key that comes twice, of which one
    reader takes the first and another the last. A 400 names each wrong field, a 415 another media
    type.
    """

    async def read_body(request: Request) -> BodyT:
        raw = await _raw(request, optional=optional)
        try:
            read = kind.model_validate_json(raw, strict=True)
        except ValidationError as error:
            raise _told(error) from error
        json.loads(raw, object_pairs_hook=_once)
        return read

    return read_body


async def rest(kind: type[BodyT], request: Request, **given: str) -> BodyT:
    """The optional body as `kind`, of which some fields are `given`, by the path or by who reads it."""
    raw = await _raw(request, optional=True)
    try:
        said = _OBJECT.validate_json(raw)
        json.loads(raw, object_pairs_hook=_once)
        if twice := sorted(set(said) & set(given)):
            raise invalid(f"body.{twice[0]}", f"{twice[0]!r} is not for the body to say.")
        return kind.model_validate_json(json.dumps({**said, **given}), strict=True)
    except ValidationError as error:
        raise _told(error) from error


def documented(
    kind: type[BaseModel], *, optional: bool = False, given: Collection[str] = ()
) -> dict[str, Any]:
    """What OpenAPI says of such a body (`openapi_extra`); `given`: fields that it may not say."""
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{kind.__name__}"}
    if given:
        schema = kind.model_json_schema()
        schema["properties"] = {k: v for k, v in schema["properties"].items() if k not in given}
        schema["required"] = [each for each in schema["required"] if each not in given]
    return {"requestBody": {"required": not optional, "content": {MEDIA_TYPE: {"schema": schema}}}}


async def _raw(request: Request, *, optional: bool) -> bytes:
    raw = await request.body()
    if not raw and optional:
        return b"{}"
    if raw:
        _require_json(request)
    return raw


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    found.clear()
    for key, value in pairs:
        if key in found:
            shown = key[:_SHOWN_LENGTH]
            raise invalid(f"body.{shown}", f"The key {shown!r} is there more than once.")
        found[key] = value
    return found


def _require_json(request: Request) -> None:
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said != MEDIA_TYPE:
        raise Terminal(ErrorCode.UNSUPPORTED_MEDIA_TYPE)


def _told(error: ValidationError) -> RequestValidationError:
    errors = error.errors(include_input=False, include_url=False, include_context=False)
    found = [
        {**each, "loc": ("body", *[str(part)[:_SHOWN_LENGTH] for part in each["loc"]])}
        for each in errors[:_SHOWN_ERRORS]
    ]
    return RequestValidationError(cast("list[Any]", found))
