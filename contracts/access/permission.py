"""What changes who may do what, and what was done beyond it. Only the gateway says it."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, JsonValue

from contracts.identity import Role
from contracts.message import Event


class ProjectChanged(Event):
    """An admin of a project chose something for all of it."""

    type: Literal["project.changed.v1"] = "project.changed.v1"
    old: dict[str, JsonValue]
    new: dict[str, JsonValue]


class GrantGiven(Event):
    """A VM is shared with a user; once more: in another role."""

    type: Literal["grant.given.v1"] = "grant.given.v1"
    vm_id: UUID
    user_id: UUID
    role: Role


class GrantRevoked(Event):
    """A VM is not shared with a user any more."""

    type: Literal["grant.revoked.v1"] = "grant.revoked.v1"
    vm_id: UUID
    user_id: UUID


class Overridden(Event):
    """An admin of the platform asked for something in a project that they are not in.

    Said before it is done; what came of it has the same `request_id`.
    """

    type: Literal["admin.override.v1"] = "admin.override.v1"
    method: str
    path: str
    reason: str = Field(description="As the admin gave it.")
    address: str | None = None


class CommandTried(Event):
    """Somebody asked what would follow from a command, which was not given."""

    type: Literal["command.tried.v1"] = "command.tried.v1"
    command: str = Field(description="Its wire name.")
    vm_id: UUID | None = None
    would_be_accepted: bool
    refused: tuple[str, ...] = Field(description="The checks that would refuse it.")


PermissionEvent = Annotated[
    ProjectChanged | GrantGiven | GrantRevoked | Overridden | CommandTried,
    Field(discriminator="type"),
]
