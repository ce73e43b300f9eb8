"""GET /v1/audit, a project's trail in pages, and /v1/audit/export, all of it as one stream."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field, JsonValue

from chassis.database import Database
from chassis.identity import Caller
from services.audit.export import export
from services.audit.ledger import entry
from services.audit.ocsf import event
from services.audit.query import Filters, Narrowing, write_marker
from services.audit.routes.door import EVERYTHING, Door
from services.audit.routes.links import Links, links

_TIME: dict[str, JsonValue] = {"format": "date-time"}


class Access(BaseModel):
    """By which request it came about."""

    address: str = Field(description="Where the request came from.")
    client: str = Field(description="What its program called itself.")
    credential: str = Field(description="What vouched for the caller, by kind and id.")
    permission: str = Field(description="What it asked for.", examples=["vm.reboot"])


class Entry(BaseModel):
    """A row of the ledger. Its hash can be computed again from the rest (services/audit/ledger)."""

    id: int
    access: Access | None = Field(
        default=None, description="Not there where no request is behind it."
    )
    chain: str = Field(examples=["vm.events/3"])
    position: int
    message_id: str
    type: str = Field(examples=["vm.create.v1"])
    time: str = Field(json_schema_extra=_TIME, description="When it was said.")
    source: str
    subject: str
    vm_id: str | None
    project_id: str
    account: str
    actor: str
    operation_id: str | None
    request_id: str
    data: dict[str, JsonValue]
    recorded_at: str = Field(json_schema_extra=_TIME)
    previous_hash: str
    hash: str


class Page(BaseModel):
    """One page of the ledger."""

    items: list[Entry]
    links: Links


def router(database: Database, door: Door) -> APIRouter:
    """The routes over one ledger."""
    made = APIRouter(prefix="/v1/audit", tags=["audit"])

    @made.get("", response_model=Page, response_model_exclude_unset=True)
    async def read_audit(
        request: Request,
        caller: Annotated[Caller, Depends(door.enter)],
        filters: Annotated[Filters, Query()],
    ) -> Page | Response:
        """The project's trail. What was recorded late stands at the time when it was said."""
        async with database.reading() as session:
            found = await session.execute(filters.select(caller.project_id))
            rows = found.mappings().all()
        page, following = rows[: filters.limit], None
        if len(rows) > filters.limit:
            following = write_marker(page[-1]["time"], page[-1]["id"])
        if filters.format == "ocsf":
            following_links = links(request, following).model_dump()
            return JSONResponse({"items": [event(row) for row in page], "links": following_links})
        items = [Entry(**entry(row)) for row in page]
        return Page(items=items, links=links(request, following))

    @made.get("/export", response_class=StreamingResponse)
    async def export_audit(
        caller: Annotated[Caller, Depends(door.enter)],
        wanted: Annotated[Narrowing, Query()],
    ) -> StreamingResponse:
        """The project's entries as NDJSON, chain by chain; the last line says how many they are."""
        project = None if caller.project_id == EVERYTHING else caller.project_id
        shape = event if wanted.format == "ocsf" else entry
        lines = export(database, wanted.conditions(project), shape)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    return made
