"""What may be asked of an operation that has not ended."""

from datetime import timedelta
from typing import Literal
from uuid import UUID

from pydantic import Field

from contracts.identity import Role
from contracts.message import Change, Command
from contracts.vm.states import Transition, VmState


class Cancel(Command):
    """Stop an operation before it is started, or undo it where it can be undone (a create)."""

    type: Literal["operation.cancel.v1"] = "operation.cancel.v1"
    change = Change.of(frozenset(VmState), Transition.UPDATING, None)
    deadline = timedelta(minutes=5)
    role = Role.OPERATOR

    target: UUID = Field(description="The operation to cancel.", strict=False)
