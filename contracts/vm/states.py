"""What a VM is: the states that sync reports, and the snapshot that it publishes."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field


class VmState(StrEnum):
    """What the cloud was last seen to hold. Only sync says it."""

    REQUESTED = "requested"
    BUILDING = "building"
    ACTIVE = "active"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    SHELVED = "shelved"
    RESCUED = "rescued"
    RESIZED = "resized"
    ERROR = "error"
    DELETED = "deleted"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Transition(StrEnum):
    """What is being done to a VM while an operation is under way."""

    CREATING = "creating"
    IMPORTING = "importing"
    STARTING = "starting"
    STOPPING = "stopping"
    REBOOTING = "rebooting"
    PAUSING = "pausing"
    UNPAUSING = "unpausing"
    UPDATING = "updating"
    LOOKING = "looking"
    DELETING = "deleting"


GONE = frozenset({VmState.DELETED, VmState.MISSING})
PRESENT = frozenset(VmState) - GONE - {VmState.REQUESTED}

CloudWord = Annotated[str, Field(max_length=255)]
"""An id, a name or a tag that a cloud gives. OpenStack's are no longer; an index would refuse more."""

VmField = Literal[
    "name", "description", "metadata", "tags", "state", "flavor", "security_groups", "addresses"
]
"""What of a snapshot is wanted so, and hence may drift."""
VM_FIELDS: tuple[VmField, ...] = get_args(VmField)


class Address(BaseModel):
    """One IP address of a VM."""

    model_config = ConfigDict(frozen=True)

    network: str = Field(examples=["private"])
    address: str = Field(examples=["10.0.0.7"])
    version: int = Field(description="4 or 6.", examples=[4])
    kind: str = Field(default="fixed", description="`fixed` or `floating`.")
    mac: str | None = None


class Fault(BaseModel):
    """What the cloud says went wrong with a VM, in its own words."""

    model_config = ConfigDict(frozen=True)

    code: int = Field(examples=[500])
    message: str = Field(examples=["No valid host was found."])
    at: datetime | None = None


class VmSnapshot(BaseModel):
    """A VM as the cloud holds it, in Hostler's words. Times are the cloud's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    server_id: CloudWord | None = Field(
        default=None, description="The cloud's id; None before there is one."
    )
    name: CloudWord = ""
    description: str | None = None
    state: VmState
    task: str | None = Field(default=None, description="What the cloud is doing with it right now.")
    flavor: str | None = Field(default=None, description="The flavor's name.")
    image: str | None = Field(
        default=None, description="The image's id; None if booted from a volume."
    )
    addresses: tuple[Address, ...] = ()
    metadata: dict[str, str] = Field(default_factory=dict)
    tags: tuple[CloudWord, ...] = Field(
        default=(), description="Sorted; without Hostler's own marks."
    )
    key_name: str | None = None
    availability_zone: str | None = None
    security_groups: tuple[str, ...] = ()
    fault: Fault | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
