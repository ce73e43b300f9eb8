"""VMs out of the read model."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, and_, bindparam, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.errors import Terminal
from contracts.errors import ErrorCode
from contracts.vm.states import VmState
from services.gateway.resources import Vm
from services.gateway.tables import CATALOG, VM_TAGS, VMS, values
from services.gateway.turns import COMMANDS

_ITS_IMAGE = and_(
    CATALOG.c.account == VMS.c.account, CATALOG.c.kind == "image", CATALOG.c.id == VMS.c.image
)
_SHOWN = select(VMS, CATALOG.c.name.label("image_name")).outerjoin(CATALOG, _ITS_IMAGE)
_ONE = _SHOWN.where(VMS.c.id == bindparam("vm_id"), VMS.c.project_id == bindparam("project_id"))
"""Made once: to put a statement together costs as much as to run it."""


_NAMES = tuple(Vm.model_fields)
_THERE = VMS.c.state != literal_column(f"'{VmState.DELETED.value}'")
"""Said literally, so that a prepared statement can use the index of those that are there."""


@dataclass(frozen=True)
class VmFilter:
    """Which VMs of a project. `flavor` and `image` are ids or names."""

    project_id: str
    account: str
    states: frozenset[VmState] = frozenset()
    name: str | None = None
    flavor: str | None = None
    image: str | None = None
    tags: frozenset[str] = frozenset()
    changed_since: datetime | None = None
    deleted: bool = False

    def narrow(self, query: Select[Any]) -> Select[Any]:
        """The same as conditions of a query."""
        query = query.where(VMS.c.project_id == self.project_id)
        if self.states:
            query = query.where(VMS.c.state.in_([each.value for each in self.states]))
        elif not self.deleted:
            query = query.where(_THERE)
        if self.name:
            found = VMS.c.folded_name.contains(self.name.casefold(), autoescape=True)
            query = query.where(found)
        if self.changed_since is not None:
            query = query.where(VMS.c.updated_at >= self.changed_since)
        return self._of_kind(query)

    def _of_kind(self, query: Select[Any]) -> Select[Any]:
        if self.flavor is not None:
            named = self._named("flavor", self.flavor).with_only_columns(CATALOG.c.name)
            query = query.where(or_(VMS.c.flavor == self.flavor, VMS.c.flavor.in_(named)))
        if self.image is not None:
            named = self._named("image", self.image).with_only_columns(CATALOG.c.id)
            query = query.where(or_(VMS.c.image == self.image, VMS.c.image.in_(named)))
        for tag in sorted(self.tags):
            tagged = select(VM_TAGS.c.vm_id).where(
                VM_TAGS.c.project_id == self.project_id, VM_TAGS.c.tag == tag
            )
            query = query.where(VMS.c.id.in_(tagged))
        return query

    def _named(self, kind: str, reference: str) -> Select[Any]:
        either = or_(CATALOG.c.id == reference, CATALOG.c.name == reference)
        here = and_(CATALOG.c.account == self.account, CATALOG.c.kind == kind)
        return select(CATALOG).where(here, either).correlate(None)


def listed(wanted: VmFilter) -> Select[Any]:
    """The query for a list, not sorted yet."""
    return wanted.narrow(_SHOWN)


async def find(session: AsyncSession, project_id: str, vm_id: UUID) -> Row[Any]:
    """One VM's row; Terminal(NOT_FOUND) if the project has no such one."""
    mine = {"vm_id": vm_id, "project_id": project_id}
    row = (await session.execute(_ONE, mine)).first()
    if row is None:
        raise Terminal(ErrorCode.NOT_FOUND)
    return row


def plain(row: Row[Any]) -> dict[str, Any]:
    """A VM as the API answers it; JSON is made of it without a validation, which costs as much again."""
    said = values(row)
    here, image = f"/v1/vms/{said['id']}", said["image"]
    command = COMMANDS.get(said["operation_command"] or "")
    said["transition"] = command.change.via.value if command else None
    said["image"] = {"id": image, "name": said["image_name"]} if image else None
    said["operation"] = _under_way(said)
    said["links"] = {
        "self": here,
        "operations": f"/v1/operations?vm_id={said['id']}",
        "events": f"/v1/events?vm_id={said['id']}",
    }
    return {name: said[name] for name in _NAMES}


def _under_way(said: dict[str, Any]) -> dict[str, Any] | None:
    if (operation_id := said["operation_id"]) is None:
        return None
    link = f"/v1/operations/{operation_id}"
    return {"id": operation_id, "command": said["operation_command"], "link": link}
