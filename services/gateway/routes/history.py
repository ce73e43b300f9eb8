"""What a VM was: each change of it, and the VM as of a time. Audit tells both from its ledger."""

import logging
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import httpx
from fastapi import Depends, Request, Response
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import select

from chassis.database import as_service
from chassis.errors import Retry, Terminal
from chassis.identity import Caller
from chassis.problems import invalid
from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.vm.states import VmSnapshot
from services.gateway import documents
from services.gateway.context import Gateway, Here, RequestId
from services.gateway.forwarding import RETRY
from services.gateway.identity.permission import permit
from services.gateway.pages import Limit, Marker, Page, links
from services.gateway.resources import Resource
from services.gateway.routes.guard import guarded
from services.gateway.tables import VMS

LOG = logging.getLogger(__name__)
_ToldT = TypeVar("_ToldT", bound=BaseModel)
ROUTER = guarded("/vms", "vms")
Reader = Annotated[Caller, Depends(permit(Role.VIEWER, "vm.read"))]
_NOT_FOUND = 404
_REFUSED = 400


class PastVm(VmSnapshot):
    """A VM as sync last saw it at or before a time."""

    id: UUID
    project_id: str
    account: str
    version: int = Field(description="Counts what sync saw change.")
    observed_at: datetime = Field(description="The cloud's clock when it was seen so.")
    said_at: datetime = Field(description="When sync said so: its clock decides what `at` finds.")


class VmChange(Resource):
    """One change of a VM: what differs from what was last known of it, and who caused it."""

    id: UUID = Field(description="The message's.")
    version: int
    time: datetime = Field(description="When sync said so.")
    observed_at: datetime = Field(description="The cloud's clock when it was seen.")
    origin: str = Field(description="`hostler` if an operation was under way, else `external`.")
    actor: str
    operation_id: UUID | None = None
    request_id: str = ""
    old: dict[str, Any]
    new: dict[str, Any]


async def show_at(
    gateway: Gateway, caller: Caller, vm_id: UUID, at: datetime, request_id: str
) -> Response:
    """The project's VM as of a time, as a PastVm; 404 before it was first seen, 400 if to come."""
    if at > gateway.clock():
        raise invalid("query.at", "This time is still to come.")
    await _find(gateway, caller, vm_id)
    query = str(httpx.QueryParams({"at": at.isoformat()}))
    answer = await _ask(gateway, caller, f"/v1/audit/vms/{vm_id}", query, request_id)
    if answer.status_code == _NOT_FOUND:
        raise Terminal(ErrorCode.NOT_FOUND, "There was no such VM in the project by then.")
    told = _read(_ToldVm, answer)
    past = PastVm.model_validate({**told.vm.model_dump(), **told.model_dump(exclude={"vm"})})
    return Response(past.model_dump_json(), media_type="application/json")


def check_page(*, limit: Limit = 100, marker: Marker = None) -> None:
    """Check what audit is asked; it gets the query as the caller wrote it."""


@ROUTER.get(
    "/{vm_id}/history",
    responses=documents.problems(ErrorCode.NOT_FOUND),
    dependencies=[Depends(check_page)],
)
async def list_changes(
    *,
    request: Request,
    vm_id: UUID,
    request_id: RequestId,
    gateway: Here,
    caller: Reader,
) -> Page[VmChange]:
    """List every change of a VM, the oldest first; also of one that is deleted."""
    known = await _find(gateway, caller, vm_id)
    path = f"/v1/audit/vms/{vm_id}/history"
    answer = await _ask(gateway, caller, path, request.url.query, request_id)
    if answer.status_code == _NOT_FOUND:
        if not known:
            raise Terminal(ErrorCode.NOT_FOUND)
        return Page[VmChange](items=[], links=links(request, None))
    told = _read(_ToldPage, answer)
    following = (told.links.next or "").partition("?")[2]
    place = httpx.QueryParams(following).get("marker")
    return Page[VmChange](items=told.items, links=links(request, place))


class _ToldVm(BaseModel):
    """A VM of the past as audit tells it."""

    vm: VmSnapshot
    id: UUID
    project_id: str
    account: str
    version: int
    observed_at: datetime
    said_at: datetime


class _ToldLinks(BaseModel):
    next: str | None


class _ToldPage(BaseModel):
    """A page as audit tells it. Without links nobody could say whether it is the last."""

    items: list[VmChange]
    links: _ToldLinks


def _read(kind: type[_ToldT], answer: httpx.Response) -> _ToldT:
    """What audit said; Retry(UNAVAILABLE) where it is not what this gateway knows to read."""
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as error:
        LOG.warning("audit's answer is none: %s", error.errors(include_input=False)[:3])
        raise Retry(ErrorCode.UNAVAILABLE, "Audit's answer cannot be read.", after=RETRY) from error


async def _find(gateway: Gateway, caller: Caller, vm_id: UUID) -> bool:
    """Whether the read model has the project's VM; Terminal(NOT_FOUND) if it is another's."""
    query = select(VMS.c.project_id).where(VMS.c.id == vm_id)
    with as_service():  # another's is to be known as one: audit is not asked about it
        async with gateway.database.reading() as session:
            project_id = await session.scalar(query)
    if project_id not in {None, caller.project_id}:
        raise Terminal(ErrorCode.NOT_FOUND)
    return project_id is not None


async def _ask(
    gateway: Gateway, caller: Caller, path: str, query: str, request_id: str
) -> httpx.Response:
    token = gateway.vouching.sign(caller, "audit", gateway.clock())
    answer = await gateway.audit.ask(path, query, token, request_id)
    if answer.status_code == _REFUSED:
        raise invalid("query.marker", "This marker was not given out here.")
    return answer
