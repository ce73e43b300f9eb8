"""Orphans and unmanaged servers; the subject is `account/kind/id`."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from contracts.message import Event
from contracts.vm.states import CloudWord, VmSnapshot

ResourceKind = Literal["server", "port", "volume", "floating_ip"]


class _Resource(Event):
    kind: ResourceKind
    id: CloudWord = Field(description="The cloud's own id of it.")


class _Orphan(_Resource):
    name: CloudWord = ""
    vm_id: UUID | None = Field(default=None, description="Whose it was.")
    reason: Literal["vm_deleted", "second_server", "unknown_vm"]
    proven: bool = Field(
        description="The mark proves that Hostler made it: it may be removed. Else it is only told."
    )
    found_at: datetime


class OrphanFound(_Orphan):
    """Something that Hostler made, or that belonged to such a thing, and that no VM has any more."""

    type: Literal["orphan.found.v1"] = "orphan.found.v1"


class OrphanRemoving(_Orphan):
    """Hostler asked the cloud for an orphan's end; it is there until it is told gone or removed.

    Said again each time that the cloud is asked again.
    """

    type: Literal["orphan.removing.v1"] = "orphan.removing.v1"
    since: datetime = Field(description="When the cloud was first asked.")
    attempts: int = Field(ge=1, description="How often it was set about.")


class OrphanGone(_Resource):
    """An orphan is seen no longer, or has an owner again."""

    type: Literal["orphan.gone.v1"] = "orphan.gone.v1"


class OrphanRemoved(_Resource):
    """An orphan whose end Hostler asked for is seen no longer."""

    type: Literal["orphan.removed.v1"] = "orphan.removed.v1"
    vm_id: UUID | None = None


class UnmanagedServer(Event):
    """A server that Hostler does not know: somebody else's. `gone` takes it off the list."""

    type: Literal["unmanaged.server.v1"] = "unmanaged.server.v1"
    server_id: CloudWord
    gone: bool = Field(default=False, description="It is deleted, or a VM of Hostler's now.")
    vm: VmSnapshot


InventoryEvent = Annotated[
    OrphanFound | OrphanRemoving | OrphanGone | OrphanRemoved | UnmanagedServer,
    Field(discriminator="type"),
]
