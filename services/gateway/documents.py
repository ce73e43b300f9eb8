"""The OpenAPI document: FastAPI's, with the problems that each route can answer, as they are answered."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from chassis.problems import MEDIA_TYPE, Problem
from contracts.errors import MEANINGS, ErrorCode
from contracts.topics import VM_COMMANDS
from services.gateway.http import REQUEST_ID

ALWAYS = (
    ErrorCode.BAD_REQUEST,
    ErrorCode.INVALID,
    ErrorCode.UNAUTHENTICATED,
    ErrorCode.SIGNATURE_INVALID,
    ErrorCode.STEP_UP_REQUIRED,
    ErrorCode.FORBIDDEN,
    ErrorCode.FACTOR_REQUIRED,
    ErrorCode.BODY_TIMEOUT,
    ErrorCode.TOO_LARGE,
    ErrorCode.RATE_LIMITED,
    ErrorCode.HEADERS_TOO_LARGE,
    ErrorCode.INTERNAL,
    ErrorCode.UNAVAILABLE,
)
COMMANDED = (
    ErrorCode.NOT_FOUND,
    ErrorCode.STATE_CONFLICT,
    ErrorCode.CONFLICT,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.KEY_REUSED,
)
_PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}
_TEXT = {"type": "string"}
_ALWAYS_SENT = {REQUEST_ID: {"schema": _TEXT, "description": "The id of this request."}}
_LIMITS = {
    "RateLimit-Policy": {
        "schema": _TEXT,
        "description": 'The caller\'s rates: `"read-caller-60s";q=240000;w=60`.',
    },
    "RateLimit": {
        "schema": _TEXT,
        "description": 'What is left of them: `"read-caller-60s";r=239999;t=12`.',
    },
}
_RETRY = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
_LIMITED = {"200", "201", "202", "204", "429"}
_RETRIED = {"429", "503"}
_KEY = {
    "type": "apiKey",
    "in": "header",
    "name": "X-API-Key",
    "description": "`hk_…`, made with POST /v1/api-keys.",
}
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "An access token of POST /v1/auth/login, of a provider's callback, or, for "
    "service accounts, of POST /v1/auth/token. `X-Project-Id` chooses one of a user's projects.",
}
_KEYSTONE = {
    "type": "apiKey",
    "in": "header",
    "name": "X-Auth-Token",
    "description": "A token of the cloud's Keystone, where the settings say that it is taken.",
}
_CLIENT: dict[str, object] = {
    "type": "oauth2",
    "description": "How a service account gets its access token, which is sent as `Bearer`.",
    "flows": {"clientCredentials": {"tokenUrl": "/v1/auth/token", "scopes": {}}},
}
_SCHEMES = {"ApiKey": _KEY, "Bearer": _BEARER, "Keystone": _KEYSTONE, "ServiceAccount": _CLIENT}
SECURITY: list[dict[str, list[str]]] = [{name: []} for name in _SCHEMES]
"""The ways to ask: said of each route that has a guard, which reads them by itself. As dependencies
of FastAPI's they would cost every request more than the look-up of its key."""
_DEFINITIONS = {"HTTPValidationError", "ValidationError"}


def problems(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer these, and those that every route can."""
    said: dict[int, list[str]] = {}
    for code in dict.fromkeys((*ALWAYS, *codes)):
        said.setdefault(MEANINGS[code].status, []).append(f"`{code}`: {MEANINGS[code].sentence}")
    return {
        status: {"description": "<br>".join(lines), "content": {MEDIA_TYPE: _PROBLEM}}
        for status, lines in sorted(said.items())
    }


def openapi(app: FastAPI, *bodies: type[BaseModel]) -> dict[str, Any]:
    """The document; `bodies`: models that routes read by themselves."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        _add_schemas(made, *bodies, *VM_COMMANDS.carries)
        made["components"]["securitySchemes"] = _SCHEMES
        _tell_truth(made)
        app.openapi_schema = made
    return app.openapi_schema


def _add_schemas(made: dict[str, Any], *models: type[BaseModel]) -> None:
    schemas: dict[str, Any] = made["components"]["schemas"]
    for model in (Problem, *models):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    for name in _DEFINITIONS:
        schemas.pop(name, None)


def _tell_truth(made: dict[str, Any]) -> None:
    """Drop FastAPI's 422, which is a 400 here; name the headers that answers have."""
    made["components"]["headers"] = {**_ALWAYS_SENT, **_LIMITS, **_RETRY}
    for path in made["paths"].values():
        for operation in path.values():
            responses = operation["responses"]
            if "HTTPValidationError" in str(responses.get("422", "")):
                del responses["422"]
            for status, response in responses.items():
                response.setdefault("headers", {}).update(_headers(status))


def _headers(status: str) -> dict[str, dict[str, str]]:
    """References to the headers that every answer of this status may have."""
    names = [*_ALWAYS_SENT]
    names += _LIMITS if status in _LIMITED else []
    names += _RETRY if status in _RETRIED else []
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
