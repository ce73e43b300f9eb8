"""Drift: what of VMs is not as Hostler left it, and what is to follow from that."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from chassis.identity import Caller
from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.vm.events import DriftChoice
from contracts.vm.states import VmField
from services.gateway import choosing, documents
from services.gateway.bodies import body, documented
from services.gateway.choosing import Chooser
from services.gateway.context import Here, RequestId
from services.gateway.correcting import may_be_corrected
from services.gateway.drift import OTHERS
from services.gateway.identity.permission import Viewer, permit
from services.gateway.pages import Limit, Marker, Order, Page
from services.gateway.policy.sharing import narrow
from services.gateway.reading import drift, vms
from services.gateway.reading.pages import page_of
from services.gateway.resources import Drift, VmDrift
from services.gateway.routes.guard import guarded
from services.gateway.tables import DRIFT

ROUTER = guarded("", "drift")
Operator = Annotated[Caller, Depends(permit(Role.OPERATOR, "vm.drift"))]
_ORDER = Order("since", DRIFT.c.since, DRIFT.c.id)
_CHOOSING = documents.problems(ErrorCode.NOT_FOUND, ErrorCode.UNSUPPORTED_MEDIA_TYPE)


class DriftChoices(BaseModel):
    """What is to follow from each field's drift from now on; `*` is all fields not named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: dict[VmField | Literal["*"], DriftChoice] = Field(
        examples=[{"state": "correct", "*": "report"}]
    )

    @field_validator("choices")
    @classmethod
    def _can_be_done(cls, choices: dict[str, DriftChoice]) -> dict[str, DriftChoice]:
        for field, choice in choices.items():
            if choice == "correct" and field != OTHERS and not may_be_corrected(field):
                raise ValueError(f"no command changes {field}: it cannot be corrected")
        return choices


class DriftSettlement(BaseModel):
    """What is to follow from the drift that there is: want what is found, or correct it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choice: Literal["accept", "correct"]


@ROUTER.get("/drift", responses=documents.problems())
async def list_drift(
    *,
    request: Request,
    gateway: Here,
    caller: Viewer,
    vm_id: Annotated[UUID | None, Query(description="Of this VM.")] = None,
    field: Annotated[VmField | None, Query(description="Of this field.")] = None,
    limit: Limit = 100,
    marker: Marker = None,
) -> Page[Drift]:
    """List what drifts in the project, the oldest first."""
    query = narrow(drift.listed(caller.project_id, vm_id, field), caller, DRIFT.c.vm_id)
    return await page_of(gateway, request, query, _ORDER, drift.shown, limit=limit, marker=marker)


@ROUTER.get("/vms/{vm_id}/drift", responses=documents.problems(ErrorCode.NOT_FOUND))
async def show_drift(vm_id: UUID, gateway: Here, caller: Viewer) -> VmDrift:
    """Show what of a VM drifts, and what was chosen to follow from it."""
    async with gateway.database.reading() as session:
        await vms.find(session, caller.project_id, vm_id)
        return await drift.of_vm(session, vm_id)


@ROUTER.put("/vms/{vm_id}/drift", responses=_CHOOSING, openapi_extra=documented(DriftChoices))
async def choose_drift(
    vm_id: UUID,
    request_id: RequestId,
    gateway: Here,
    caller: Operator,
    wanted: Annotated[DriftChoices, Depends(body(DriftChoices))],
) -> VmDrift:
    """Choose what follows from each field's drift from now on; what drifts already is left alone.

    `report` tells of it; `correct` does that and gives the command that leads back, a few times an
    hour at most; `accept` tells of it and wants what is found; `ignore` does nothing.
    """
    chooser = Chooser(caller, request_id, vm_id, gateway.clock(), gateway.policy.needed)
    async with gateway.database.session() as session:
        choices: dict[str, DriftChoice] = {
            str(field): choice for field, choice in wanted.choices.items()
        }
        await choosing.choose(session, chooser, choices)
        return await drift.of_vm(session, vm_id)


@ROUTER.post(
    "/vms/{vm_id}/drift/{field}",
    responses={
        202: {"model": VmDrift, "description": "Correcting; `Location` is the operation."},
        **_CHOOSING,
        **documents.problems(ErrorCode.CONFLICT, ErrorCode.STATE_CONFLICT),
    },
    openapi_extra=documented(DriftSettlement),
)
async def settle_drift(
    *,
    vm_id: UUID,
    field: VmField,
    request_id: RequestId,
    gateway: Here,
    caller: Operator,
    wanted: Annotated[DriftSettlement, Depends(body(DriftSettlement))],
    response: Response,
) -> VmDrift:
    """Settle what drifts now: accept what is found, or correct it by a command."""
    chooser = Chooser(caller, request_id, vm_id, gateway.clock(), gateway.policy.needed)
    async with gateway.database.session() as session:
        if wanted.choice == "accept":
            await choosing.accept(session, chooser, field)
        else:
            operation_id = await choosing.correct(session, chooser, gateway.intake, field)
            response.status_code = 202
            response.headers["Location"] = f"/v1/operations/{operation_id}"
        return await drift.of_vm(session, vm_id)
