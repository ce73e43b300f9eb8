"""Bodies that OAuth writes as forms: every field once, text, and nothing else."""

from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel

from chassis.errors import Terminal
from chassis.problems import invalid
from contracts.errors import ErrorCode

MEDIA_TYPE = "application/x-www-form-urlencoded"
_MAX_FIELDS = 20
_SHOWN = 100


async def read_form(request: Request) -> dict[str, str]:
    """The fields; a 400 for one that is there twice, a 415 for another media type."""
    raw = await request.body()
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if raw and said != MEDIA_TYPE:
        raise Terminal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"Send {MEDIA_TYPE}.")
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError as error:
        raise invalid("body", "This is no form that can be read.") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            shown = name[:_SHOWN]
            raise invalid(f"body.{shown}", f"The field {shown!r} is there more than once.")
        found[name] = value
    return found


def documented_form(kind: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of such a body (`openapi_extra`)."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": schema}}}}
