"""What happens to a VM: changes and looks are sync's to say, the rest is the provisioner's."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.message import Event, Happened
from contracts.vm.states import VmSnapshot


class Changed(Event):
    """A VM differs from what was last known of it."""

    type: Literal["vm.changed.v1"] = "vm.changed.v1"
    origin: Literal["hostler", "external"] = Field(
        description="`hostler` if an operation was under way, else `external`."
    )
    old: dict[str, Any] = Field(description="The fields that changed, as they were.")
    new: dict[str, Any] = Field(description="The same fields, as they are now.")
    version: int = Field(description="Counts this VM's changes from 1; the highest is the latest.")
    observed_at: datetime = Field(description="The cloud's clock when it was seen.")
    vm: VmSnapshot


class Observed(Event):
    """A VM was looked at on behalf of an operation that waits for it."""

    type: Literal["vm.observed.v1"] = "vm.observed.v1"
    version: int
    observed_at: datetime = Field(description="The cloud's clock when it was seen.")
    vm: VmSnapshot


class State(Event):
    """The latest snapshot of a VM, for consumers that start late (compacted topic)."""

    type: Literal["vm.state.v1"] = "vm.state.v1"
    version: int
    observed_at: datetime
    vm: VmSnapshot


class Created(Happened):
    """A VM was created and is active."""

    type: Literal["vm.created.v1"] = "vm.created.v1"


class Imported(Happened):
    """A server that somebody else made is a VM now."""

    type: Literal["vm.imported.v1"] = "vm.imported.v1"


class Updated(Happened):
    """A VM's name, description, metadata or tags were changed."""

    type: Literal["vm.updated.v1"] = "vm.updated.v1"


class Deleted(Happened):
    """A VM was deleted."""

    type: Literal["vm.deleted.v1"] = "vm.deleted.v1"


class Started(Happened):
    """A VM was powered on."""

    type: Literal["vm.started.v1"] = "vm.started.v1"


class Stopped(Happened):
    """A VM was powered off."""

    type: Literal["vm.stopped.v1"] = "vm.stopped.v1"


class Rebooted(Happened):
    """A VM was restarted."""

    type: Literal["vm.rebooted.v1"] = "vm.rebooted.v1"


class Paused(Happened):
    """A VM was frozen in its host's memory."""

    type: Literal["vm.paused.v1"] = "vm.paused.v1"


class Unpaused(Happened):
    """A paused VM runs again."""

    type: Literal["vm.unpaused.v1"] = "vm.unpaused.v1"


DriftChoice = Literal["report", "correct", "accept", "ignore"]


class Difference(BaseModel):
    """One field that was changed behind Hostler's back."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    wanted: Any = Field(description="As Hostler last left or accepted it.")
    found: Any = Field(description="As the cloud shows it.")
    choice: DriftChoice = Field(
        description="What follows: `report` it, `correct` it by a command, or `accept` it."
    )


class Drifted(Event):
    """A VM is not as Hostler left it: somebody else changed it. What is ignored is not told."""

    type: Literal["vm.drifted.v1"] = "vm.drifted.v1"
    version: int = Field(description="That of the `vm.changed.v1` that showed it.")
    observed_at: datetime
    fields: dict[str, Difference]


VmEvent = Annotated[
    Changed
    | Observed
    | Drifted
    | Created
    | Imported
    | Updated
    | Deleted
    | Started
    | Stopped
    | Rebooted
    | Paused
    | Unpaused,
    Field(discriminator="type"),
]
