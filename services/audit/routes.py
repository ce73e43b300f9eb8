"""GET /v1/audit and /v1/audit/verify, for callers for whom the gateway vouches."""

import asyncio
import re
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field, JsonValue

from chassis.database import Database
from chassis.errors import Terminal
from chassis.identity import Caller, Vouching
from chassis.leases import Clock
from chassis.problems import invalid
from contracts.errors import ErrorCode
from services.audit.ledger import entry
from services.audit.query import Filters, write_marker
from services.audit.verification import Verdict, verify

AUDIENCE = "audit"
_REQUEST_ID = re.compile(r"req-[A-Za-z0-9-]{1,64}")
_TIME: dict[str, JsonValue] = {"format": "date-time"}


class Entry(BaseModel):
    """A row of the ledger. Its hash can be computed again from the rest (services/audit/ledger)."""

    id: int
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


class Links(BaseModel):
    """Where to go from a page."""

    self: str
    next: str | None = Field(description="The next page; null on the last one.")


class Page(BaseModel):
    """One page of the ledger."""

    items: list[Entry]
    links: Links


class Door:
    """Lets in those for whom the gateway vouches."""

    def __init__(self, vouching: Vouching, clock: Clock) -> None:
        self.vouching = vouching
        self.clock = clock

    def enter(
        self,
        request: Request,
        bearer: Annotated[
            HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))
        ],
    ) -> Caller:
        """Who is asking; Terminal(UNAUTHENTICATED) without a token that holds."""
        said = request.headers.get("X-Openstack-Request-Id", "")
        request.state.request_id = said if _REQUEST_ID.fullmatch(said) else ""
        if bearer is None:
            raise Terminal(ErrorCode.UNAUTHENTICATED, "Ask the gateway, which vouches for you.")
        return self.vouching.check(bearer.credentials, AUDIENCE, self.clock())


def router(database: Database, door: Door) -> APIRouter:
    """The routes over one ledger."""
    made = APIRouter(prefix="/v1/audit", tags=["audit"])
    one_at_a_time = asyncio.Semaphore(1)

    @made.get("")
    async def read_audit(
        request: Request,
        caller: Annotated[Caller, Depends(door.enter)],
        filters: Annotated[Filters, Query()],
    ) -> Page:
        """The project's trail. What was recorded late stands at the time when it was said."""
        async with database.reading() as session:
            found = await session.execute(filters.select(caller.project_id))
            rows = found.mappings().all()
        page, following = rows[: filters.limit], None
        if len(rows) > filters.limit:
            following = write_marker(page[-1]["time"], page[-1]["id"])
        items = [Entry(**entry(row)) for row in page]
        return Page(items=items, links=_links(request, following))

    @made.get("/verify", dependencies=[Depends(door.enter)])
    async def verify_audit(request: Request) -> Verdict:
        """Walk all chains of the ledger, of every project, and say whether they hold."""
        for name in request.query_params:
            raise invalid(f"query.{name[:80]}", "This takes no parameters.")
        async with one_at_a_time:
            return await verify(database)

    return made


def _links(request: Request, marker: str | None) -> Links:
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if marker is None:
        return Links(self=here, next=None)
    after = request.url.include_query_params(marker=marker)
    return Links(self=here, next=f"{after.path}?{after.query}")
