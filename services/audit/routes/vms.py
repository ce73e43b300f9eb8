"""GET /v1/audit/vms/{vm_id} and …/history: what a VM was, out of what was said of it."""

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping, Select, select, tuple_

from chassis.database import Database
from chassis.errors import Terminal
from chassis.identity import Caller
from contracts.errors import ErrorCode
from contracts.vm.events import Changed
from services.audit.query import Time, read_marker, valid_marker, write_marker
from services.audit.routes.door import Door
from services.audit.routes.links import Links, links
from services.audit.tables import LEDGER


class Past(BaseModel):
    """A VM as it was last seen at or before a time."""

    id: UUID
    project_id: str
    account: str
    version: int
    observed_at: datetime = Field(description="The cloud's clock when it was seen so.")
    said_at: datetime = Field(description="When sync said so.")
    vm: dict[str, Any]


class VmChange(BaseModel):
    """One change of a VM: what differs from what was last known of it, and who caused it."""

    id: UUID = Field(description="The message's.")
    version: int
    time: datetime = Field(description="When sync said so.")
    observed_at: datetime = Field(description="The cloud's clock when it was seen.")
    origin: str = Field(description="`hostler` if an operation was under way, else `external`.")
    actor: str
    operation_id: UUID | None
    request_id: str
    old: dict[str, Any]
    new: dict[str, Any]


class Changes(BaseModel):
    """One page of a VM's changes, the oldest first."""

    items: list[VmChange]
    links: Links


class Paging(BaseModel):
    """The parameters of a VM's history; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=1000)
    marker: Annotated[str, AfterValidator(valid_marker)] | None = Field(
        default=None, pattern=r"^-?[0-9]{1,18}-[0-9]{1,18}$"
    )


def router(database: Database, door: Door) -> APIRouter:
    """The routes over one ledger."""
    made = APIRouter(prefix="/v1/audit/vms", tags=["audit"])

    @made.get("/{vm_id}")
    async def show_past(
        vm_id: UUID,
        caller: Annotated[Caller, Depends(door.enter)],
        at: Annotated[Time, Query()],
    ) -> Past:
        """What the project's VM was at a time; 404 before it was first seen."""
        latest = _changes(vm_id, caller.project_id).where(LEDGER.c.time <= at)
        query = latest.order_by(LEDGER.c.time.desc(), LEDGER.c.id.desc()).limit(1)
        async with database.reading() as session:
            row = (await session.execute(query)).mappings().first()
        if row is None:
            raise Terminal(ErrorCode.NOT_FOUND, "The VM had not been seen by then.")
        return _past(row)

    @made.get("/{vm_id}/history")
    async def list_changes(
        request: Request,
        vm_id: UUID,
        caller: Annotated[Caller, Depends(door.enter)],
        paging: Annotated[Paging, Query()],
    ) -> Changes:
        """Every change of the project's VM; 404 if the ledger knows no such one."""
        query = _changes(vm_id, caller.project_id)
        if paging.marker is not None:
            place = tuple_(LEDGER.c.time, LEDGER.c.id)
            query = query.where(place > read_marker(paging.marker))
        ordered = query.order_by(LEDGER.c.time, LEDGER.c.id).limit(paging.limit + 1)
        async with database.reading() as session:
            rows = (await session.execute(ordered)).mappings().all()
            if (
                not rows
                and (await session.execute(_known(vm_id, caller.project_id))).first() is None
            ):
                raise Terminal(ErrorCode.NOT_FOUND)
        page, following = rows[: paging.limit], None
        if len(rows) > paging.limit:
            following = write_marker(page[-1]["time"], page[-1]["id"])
        return Changes(items=[_change(row) for row in page], links=links(request, following))

    return made


def _changes(vm_id: UUID, project_id: str) -> Select[Any]:
    mine = (LEDGER.c.vm_id == vm_id) & (LEDGER.c.project_id == project_id)
    return select(LEDGER).where(mine, LEDGER.c.type == Changed.wire_name())


def _known(vm_id: UUID, project_id: str) -> Select[Any]:
    mine = (LEDGER.c.vm_id == vm_id) & (LEDGER.c.project_id == project_id)
    return select(LEDGER.c.id).where(mine).limit(1)


def _past(row: RowMapping) -> Past:
    data = json.loads(row["data"])
    return Past(
        id=row["vm_id"],
        project_id=row["project_id"],
        account=row["account"],
        version=data["version"],
        observed_at=data["observed_at"],
        said_at=row["time"],
        vm=data["vm"],
    )


def _change(row: RowMapping) -> VmChange:
    data = json.loads(row["data"])
    return VmChange(
        id=row["message_id"],
        version=data["version"],
        time=row["time"],
        observed_at=data["observed_at"],
        origin=data["origin"],
        actor=row["actor"],
        operation_id=row["operation_id"],
        request_id=row["request_id"],
        old=data["old"],
        new=data["new"],
    )
