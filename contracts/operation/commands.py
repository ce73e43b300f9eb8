"""What may be asked of an operation that has not ended; the union at the end is the registry."""

from datetime import timedelta
from typing import Literal
from uuid import UUID

from pydantic import Field

from contracts.identity import Role
from contracts.message import Change, Command
from contracts.vm.states import Transition, VmState


class _Steering(Command):
    command: str = Field(
        default="",
        max_length=255,
        description="The wire name of what the operation is about, for who never heard of it.",
    )


class Cancel(_Steering):
    """Stop an operation before it is started, or undo it where it can be undone (a create)."""

    type: Literal["operation.cancel.v1"] = "operation.cancel.v1"
    change = Change.of(frozenset(VmState), Transition.UPDATING, None, moves=frozenset())
    deadline = timedelta(minutes=5)
    role = Role.OPERATOR

    target: UUID = Field(description="The operation to cancel.", strict=False)


class Retry(_Steering):
    """Try an operation that has not ended again now; its deadline begins anew."""

    type: Literal["operation.retry.v1"] = "operation.retry.v1"
    change = Change.of(frozenset(VmState), Transition.UPDATING, None, moves=frozenset())
    deadline = timedelta(minutes=5)
    role = Role.OPERATOR

    target: UUID = Field(description="The operation to try again.", strict=False)


class Abandon(_Steering):
    """Give an operation up: it fails now, and whatever it did in the cloud stays as it is."""

    type: Literal["operation.abandon.v1"] = "operation.abandon.v1"
    change = Change.of(frozenset(VmState), Transition.UPDATING, None, moves=frozenset())
    deadline = timedelta(minutes=5)
    role = Role.OPERATOR

    target: UUID = Field(description="The operation to give up.", strict=False)
    reason: str = Field(default="", max_length=255, description="Why, for the audit.")


OperationCommand = Cancel | Retry | Abandon
