"""What may be asked of a VM. One class per command; the union at the end is the registry."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from contracts.identity import Role
from contracts.message import EVERYTHING, Action, Change, Command
from contracts.vm import events
from contracts.vm.fields import (
    Description,
    Metadata,
    Name,
    Reference,
    Sealed,
    ServerId,
    Tags,
    UserData,
)
from contracts.vm.states import PRESENT, Transition, VmState

_SETTLED = PRESENT - {VmState.BUILDING, VmState.UNKNOWN}


class Create(Command):
    """Create a VM."""

    type: Literal["vm.create.v1"] = "vm.create.v1"
    change = Change.of({VmState.REQUESTED}, Transition.CREATING, VmState.ACTIVE, moves=EVERYTHING)
    deadline = timedelta(minutes=15)
    role = Role.OPERATOR
    emits = events.Created
    stuck_after = timedelta(minutes=5)

    name: Name = Field(examples=["web-1"])
    flavor: Reference = Field(examples=["m1.small"])
    image: Reference = Field(examples=["debian-12"])
    networks: list[Reference] | None = Field(
        default=None,
        max_length=16,
        description="Networks to join, by id or name; []: none. Left out: the only one there is.",
        examples=[["private"]],
    )
    key_name: Name | None = Field(default=None, description="A key pair of the account.")
    user_data: UserData | None = None
    sealed_user_data: Sealed | None = Field(
        default=None,
        description="Takes the place of user_data on Kafka; callers may not send it.",
    )
    security_groups: list[Name] = Field(default_factory=list, max_length=32)
    availability_zone: Name | None = None
    metadata: Metadata = Field(default_factory=dict)
    tags: Tags = Field(default_factory=list)
    description: Description | None = None
    on_failure: Literal["keep", "delete", "retry"] = Field(
        default="keep",
        description="What becomes of a server whose build fails or hangs: it stays, it is deleted, "
        "or it is deleted and made anew, a few times at most.",
    )

    def calls(self) -> tuple[str, ...]:
        """One call; ports and volumes are Nova's to make."""
        return ("POST /servers",)


class Import(Command):
    """Take a server in that somebody else made, without touching it."""

    type: Literal["vm.import.v1"] = "vm.import.v1"
    change = Change.of({VmState.REQUESTED}, Transition.IMPORTING, None, moves=EVERYTHING)
    deadline = timedelta(minutes=5)
    role = Role.ADMIN
    emits = events.Imported
    shows_in_sweep = False

    server_id: ServerId = Field(examples=["0b0c6f3e-54a3-4b8c-9a51-7f2c4d1e8a90"])

    def calls(self) -> tuple[str, ...]:
        """A look: nothing is changed."""
        return ("GET /servers/{id}",)


class Update(Command):
    """Change a VM's name, description, metadata or tags; what is left out stays."""

    type: Literal["vm.update.v1"] = "vm.update.v1"
    change = Change.of(
        _SETTLED, Transition.UPDATING, None, moves={"name", "description", "metadata", "tags"}
    )
    deadline = timedelta(minutes=5)
    role = Role.OPERATOR
    emits = events.Updated
    shows_in_sweep = False

    name: Name | None = Field(default=None, examples=["web-2"])
    description: Description | None = None
    metadata: Metadata | None = Field(default=None, description="Takes the place of all metadata.")
    tags: Tags | None = Field(default=None, description="Take the place of all tags.")

    @model_validator(mode="after")
    def _says_something(self) -> "Update":
        if self.name is self.description is self.metadata is self.tags is None:
            raise ValueError("give at least one of name, description, metadata, tags")
        return self

    def calls(self) -> tuple[str, ...]:
        """One for each part that is given; tags are looked at first, for Hostler's own stay."""
        parts = {
            "PUT /servers/{id}": self.name is not None or self.description is not None,
            "PUT /servers/{id}/metadata": self.metadata is not None,
            "GET /servers/{id}/tags": self.tags is not None,
            "PUT /servers/{id}/tags": self.tags is not None,
        }
        return tuple(call for call, is_asked in parts.items() if is_asked)


class Delete(Command):
    """Delete a VM and everything that was made for it."""

    type: Literal["vm.delete.v1"] = "vm.delete.v1"
    change = Change.of(
        frozenset(VmState) - {VmState.DELETED},
        Transition.DELETING,
        VmState.DELETED,
        moves=EVERYTHING,
    )
    deadline = timedelta(minutes=15)
    role = Role.OPERATOR
    emits = events.Deleted

    def calls(self) -> tuple[str, ...]:
        """One call."""
        return ("DELETE /servers/{id}",)


class Start(Action):
    """Power a stopped VM on."""

    type: Literal["vm.start.v1"] = "vm.start.v1"
    change = Change.of({VmState.STOPPED}, Transition.STARTING, VmState.ACTIVE, moves={"state"})
    deadline = timedelta(minutes=5)
    role = Role.OPERATOR
    emits = events.Started

    def calls(self) -> tuple[str, ...]:
        """One call."""
        return ("POST /servers/{id}/action os-start",)


class Stop(Action):
    """Power a VM off; its disk and addresses stay."""

    type: Literal["vm.stop.v1"] = "vm.stop.v1"
    change = Change.of(
        {VmState.ACTIVE, VmState.ERROR}, Transition.STOPPING, VmState.STOPPED, moves={"state"}
    )
    deadline = timedelta(minutes=5)
    role = Role.OPERATOR
    emits = events.Stopped

    def calls(self) -> tuple[str, ...]:
        """One call."""
        return ("POST /servers/{id}/action os-stop",)


class Reboot(Action):
    """Restart a VM."""

    type: Literal["vm.reboot.v1"] = "vm.reboot.v1"
    change = Change.of({VmState.ACTIVE}, Transition.REBOOTING, VmState.ACTIVE, moves={"state"})
    deadline = timedelta(minutes=5)
    role = Role.OPERATOR
    emits = events.Rebooted

    hard: bool = Field(default=False, description="Cut the power instead of asking the guest.")

    def calls(self) -> tuple[str, ...]:
        """One call."""
        return (f"POST /servers/{{id}}/action reboot {'HARD' if self.hard else 'SOFT'}",)


class Pause(Action):
    """Freeze a VM in its host's memory."""

    type: Literal["vm.pause.v1"] = "vm.pause.v1"
    change = Change.of({VmState.ACTIVE}, Transition.PAUSING, VmState.PAUSED, moves={"state"})
    deadline = timedelta(minutes=5)
    role = Role.OPERATOR
    emits = events.Paused

    def calls(self) -> tuple[str, ...]:
        """One call."""
        return ("POST /servers/{id}/action pause",)


class Unpause(Action):
    """Let a paused VM go on."""

    type: Literal["vm.unpause.v1"] = "vm.unpause.v1"
    change = Change.of({VmState.PAUSED}, Transition.UNPAUSING, VmState.ACTIVE, moves={"state"})
    deadline = timedelta(minutes=5)
    role = Role.OPERATOR
    emits = events.Unpaused

    def calls(self) -> tuple[str, ...]:
        """One call."""
        return ("POST /servers/{id}/action unpause",)


class Sync(Action):
    """Look at the VM in the cloud now."""

    type: Literal["vm.sync.v1"] = "vm.sync.v1"
    change = Change.of(
        frozenset(VmState) - {VmState.DELETED}, Transition.LOOKING, None, moves=frozenset()
    )
    deadline = timedelta(minutes=2)
    role = Role.VIEWER
    shows_in_sweep = False

    def calls(self) -> tuple[str, ...]:
        """One call."""
        return ("GET /servers/{id}",)


VmCommand = Annotated[
    Create | Import | Update | Delete | Start | Stop | Reboot | Pause | Unpause | Sync,
    Field(discriminator="type"),
]
