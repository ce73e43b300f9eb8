"""No request sets what it was not asked for: unknown and read-only fields are refused, in every body.

Ids in bodies and paths that are another's: tests/authz/test_isolation.py, over every route.
"""

import re
from typing import Any
from uuid import uuid4

import pytest

from contracts.identity import Role
from services.gateway.context import Gateway
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.world import ADA, CHEAP, bearer, log_in, make_user, postbox

READ_ONLY = (
    "id",
    "actor",
    "account",
    "created_at",
    "created_by",
    "is_admin",
    "owner",
    "project_id",
    "revision",
    "server_id",
    "state",
    "type",
    "constructor",
    "__proto__",
    "__class__",
)
SHOWN = 20
"""How many errors a 400 names at most."""
Json = dict[str, Any]


@pytest.fixture
async def gateway(new_gateway: NewGateway) -> Gateway:
    made = await new_gateway(password_memory=CHEAP, registration="open")
    postbox(made)
    await make_user(made, ADA, {"demo": Role.ADMIN}, is_admin=True)
    return made


def bodies(document: Json) -> dict[tuple[str, str], Json]:
    """The schema of each body, by method and path."""
    schemas = document["components"]["schemas"]
    found: dict[tuple[str, str], Json] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                schema = content["application/json"]["schema"]
                name = schema.get("$ref", "").rpartition("/")[2]
                found[method.upper(), path] = schemas[name] if name else schema
    return found


def concrete(path: str) -> str:
    return re.sub(r"\{field\}", "name", re.sub(r"\{\w+_id\}", str(uuid4()), path))


async def test_every_body_refuses_each_field_that_is_not_its_own(gateway: Gateway) -> None:
    asked = bodies(gateway.app.openapi())
    assert len(asked) > 20
    token = (await log_in(gateway, ADA))["access_token"]
    async with bearer(gateway, token, "demo") as ada, bearer(gateway, token) as of_the_platform:
        for (method, path), schema in asked.items():
            mine = set(schema.get("properties", {}))
            foreign = {name: "x" for name in READ_ONLY if name not in mine}
            answer = await ada.request(method, concrete(path), json=foreign)
            if answer.status_code == 403:  # what is no project's
                answer = await of_the_platform.request(method, concrete(path), json=foreign)
            told = answer.json()
            assert (answer.status_code, told["code"]) == (400, "invalid"), (path, told)
            named = {each["field"].rpartition(".")[2] for each in told["errors"]}
            assert set(foreign) <= named, (method, path, told)
            assert len(told["errors"]) <= SHOWN


def test_no_object_in_a_body_is_open(gateway: Gateway) -> None:
    """A nested one that takes any field would be a way round; maps say what their values are."""
    document = gateway.app.openapi()
    schemas = document["components"]["schemas"]
    seen: set[str] = set()

    def closed(schema: Json, where: str) -> None:
        if name := schema.get("$ref", "").rpartition("/")[2]:
            if name not in seen:
                seen.add(name)
                closed(schemas[name], f"{where} {name}")
            return
        if schema.get("type") == "object":
            assert schema.get("additionalProperties", True) is not True, where
        within = [schema["items"]] if "items" in schema else []
        for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *within):
            closed(each, where)
        for name, each in schema.get("properties", {}).items():
            closed(each, f"{where}.{name}")

    for (method, path), schema in bodies(document).items():
        closed(schema, f"{method} {path}")
