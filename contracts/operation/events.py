"""How an operation goes. The message's `operation_id` says which, its `subject` which VM."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from contracts.message import Event
from contracts.operation.states import OperationError
from contracts.vm.states import CloudWord


class _About(Event):
    command: str = Field(description="The wire name of the command.", examples=["vm.reboot.v1"])
    server_id: CloudWord | None = Field(
        default=None, description="The cloud's id of the server, once known."
    )


class Started(_About):
    """A worker has begun to carry the command out."""

    type: Literal["operation.started.v1"] = "operation.started.v1"
    attempt: int = Field(description="Counts from 1.")


class Issued(_About):
    """The cloud has taken the request; what remains is to see that it was done."""

    type: Literal["operation.issued.v1"] = "operation.issued.v1"
    called_at: datetime = Field(description="The cloud's clock when it took the request.")
    cloud_request_id: str | None = Field(default=None, description="The cloud's own request id.")


class Retrying(_About):
    """An attempt did not get through; another one follows."""

    type: Literal["operation.retrying.v1"] = "operation.retrying.v1"
    attempt: int
    due_at: datetime
    error: OperationError
    blocked_on: str | None = Field(
        default=None,
        description="`quota`, where room has to be made first; `dead_letter`, where the command "
        "could not be read, and somebody has to replay it.",
    )
    deadline_at: datetime | None = Field(
        default=None, description="The operation's deadline, where it was moved."
    )


class Succeeded(_About):
    """Sync has seen what was asked for."""

    type: Literal["operation.succeeded.v1"] = "operation.succeeded.v1"


class Failed(_About):
    """It ended without what was asked for."""

    type: Literal["operation.failed.v1"] = "operation.failed.v1"
    error: OperationError
    gone: bool = Field(
        default=False, description="A failed create: nothing of it is left in the cloud."
    )


class Cancelled(_About):
    """It was ended on request; what it had made is gone."""

    type: Literal["operation.cancelled.v1"] = "operation.cancelled.v1"


OperationEvent = Annotated[
    Started | Issued | Retrying | Succeeded | Failed | Cancelled, Field(discriminator="type")
]
