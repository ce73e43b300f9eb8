"""What was done at the door besides commands, and requests that were refused. No secrets."""

from datetime import datetime
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
    scopes: tuple[str, ...] | None = Field(default=None, description="Null: all of its role's.")
    allowed_cidrs: tuple[str, ...] | None = Field(default=None, description="Null: any address.")
    expires_at: datetime | None = None


class KeyRevoked(Event):
    """An API key was revoked."""

    type: Literal["api_key.revoked.v1"] = "api_key.revoked.v1"
    name: str
    prefix: str


class KeyRotated(Event):
    """An API key got another secret."""

    type: Literal["api_key.rotated.v1"] = "api_key.rotated.v1"
    name: str
    prefix: str
    until: datetime = Field(description="When the secret of before ceases to work.")


class RequestKeyRegistered(Event):
    """A key was registered by which requests may be signed."""

    type: Literal["request_key.registered.v1"] = "request_key.registered.v1"
    name: str
    algorithm: str
    holder: str = Field(description="Whose requests it signs: `key:NAME` or `user:ID`.")


class RequestKeyRevoked(Event):
    """Requests are no longer to be signed by a key."""

    type: Literal["request_key.revoked.v1"] = "request_key.revoked.v1"
    name: str
    holder: str


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
    KeyCreated
    | KeyRevoked
    | KeyRotated
    | RequestKeyRegistered
    | RequestKeyRevoked
    | Refused
    | LettersReplayed
    | DriftChosen,
    Field(discriminator="type"),
]
