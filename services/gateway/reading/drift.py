"""Drift out of the read model."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.gateway.drift import open_drift, standing
from services.gateway.resources import Drift, VmDrift
from services.gateway.tables import DRIFT, columns


def listed(project_id: str, vm_id: UUID | None, field: str | None) -> Select[Any]:
    """The query for a project's drift, not sorted yet."""
    query = select(DRIFT).where(DRIFT.c.project_id == project_id)
    if vm_id is not None:
        query = query.where(DRIFT.c.vm_id == vm_id)
    return query if field is None else query.where(DRIFT.c.field == field)


def shown(row: Row[Any]) -> Drift:
    """One field's drift as the API answers it."""
    links = {"vm": f"/v1/vms/{row.vm_id}", "drift": f"/v1/vms/{row.vm_id}/drift"}
    if row.operation_id is not None:
        links["operation"] = f"/v1/operations/{row.operation_id}"
    return Drift.model_validate({**columns(row), "links": links})


async def of_vm(session: AsyncSession, vm_id: UUID) -> VmDrift:
    """A VM's open drift and its standing choices."""
    rows = await open_drift(session, vm_id)
    return VmDrift(items=[shown(row) for row in rows], choices=await standing(session, vm_id))
