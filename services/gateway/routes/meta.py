"""What the API says of itself: its links and its documents."""

from typing import Any

from fastapi import APIRouter

from contracts import asyncapi
from services.gateway import documents
from services.gateway.identity.permission import Known
from services.gateway.routes.guard import guarded

ROUTER = guarded("", "meta")
OPEN = APIRouter(include_in_schema=False)
LINKS = {
    "vms": "/v1/vms",
    "operations": "/v1/operations",
    "events": "/v1/events",
    "flavors": "/v1/flavors",
    "images": "/v1/images",
    "networks": "/v1/networks",
    "keypairs": "/v1/keypairs",
    "audit": "/v1/audit",
    "dead_letters": "/v1/dead-letters",
    "api_keys": "/v1/api-keys",
    "openapi": "/openapi.json",
    "asyncapi": "/asyncapi.json",
    "docs": "/docs",
}


@ROUTER.get("", responses=documents.problems())
async def show_links(caller: Known) -> dict[str, dict[str, str]]:
    """Say who is asking, and where everything is."""
    who = {"actor": caller.actor, "project_id": caller.project_id, "role": caller.role.value}
    return {"caller": who, "links": LINKS}


@OPEN.get("/asyncapi.json")
async def show_asyncapi() -> dict[str, Any]:
    """What is on Kafka, as an AsyncAPI document."""
    return asyncapi.document()
