"""What was done at the door besides commands, and requests that were refused. No secrets."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from contracts.identity import Role
from contracts.message import Event
from contracts.vm.events import DriftChoice


class KeyCreated(Event):
    """An API key was made."""

    type: Literal["api_key.created.v1"] = "api_key.created.v1"
    name: str
    prefix: str = Field(description="The key's first characters, which are not secret.")
    role: Role


class KeyRevoked(Event):
    """An API key was revoked."""

    type: Literal["api_key.revoked.v1"] = "api_key.revoked.v1"
    name: str
    prefix: str


class Refused(Event):
    """A known caller asked for something that their role does not cover."""

    type: Literal["access.refused.v1"] = "access.refused.v1"
    method: str
    path: str
    permission: str
    address: str | None = None


class LettersReplayed(Event):
    """Dead letters were given back to the consumers that had given up on them."""

    type: Literal["dead_letters.replayed.v1"] = "dead_letters.replayed.v1"
    letters: tuple[UUID, ...] = Field(description="The ids of the `dead.letter.v1`s.")


class DriftChosen(Event):
    """Somebody chose what follows from a VM's drift: for what is to come, or for what there is."""

    type: Literal["drift.chosen.v1"] = "drift.chosen.v1"
    vm_id: UUID
    choices: dict[str, DriftChoice] = Field(description="Per field; `*` is all other fields.")
    standing: bool = Field(description="False: only for the drift that there is now.")


AccessEvent = Annotated[
    KeyCreated | KeyRevoked | Refused | LettersReplayed | DriftChosen, Field(discriminator="type")
]
