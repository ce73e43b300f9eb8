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
    role: Role | None = Field(default=None, description="What it was good for.")


class KeyRotated(Event):
    """An API key got another secret."""

    type: Literal["api_key.rotated.v1"] = "api_key.rotated.v1"
    name: str
    prefix: str
    until: datetime = Field(description="When the secret of before ceases to work.")
    former_prefix: str | None = Field(default=None, description="Of the secret of before.")


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


class _Request(Event):
    method: str
    path: str = Field(description="As it was asked for, without the query; the end may be cut off.")
    route: str = Field(default="", description="Its template; empty: there is no such route.")
    status: int | None = Field(default=None, description="Of the answer.")
    target: dict[str, str] = Field(
        default_factory=dict[str, str], description="What the path names: `vm_id` and its kin."
    )


class Refused(_Request):
    """A request was refused: of whom is known who it is, or of anybody."""

    type: Literal["access.refused.v1"] = "access.refused.v1"
    permission: str = Field(description="Empty: it did not get so far.")
    address: str | None = None
    code: str | None = Field(default=None, description="The problem's: `forbidden`, `not_found`.")


class Done(_Request):
    """A request was carried out of which no other message tells."""

    type: Literal["access.done.v1"] = "access.done.v1"


class Overrode(_Request):
    """An admin of the platform, acting in no project, saw what is not their own."""

    type: Literal["access.overrode.v1"] = "access.overrode.v1"


class Flooded(Event):
    """More requests of one origin were refused than are told one by one; these were only counted."""

    type: Literal["access.flooded.v1"] = "access.flooded.v1"
    count: int
    codes: dict[str, int] = Field(description="How many of them by the problem's code.")
    since: datetime = Field(description="When the first of them was refused.")
    until: datetime = Field(description="When the last of them was.")


class LettersReplayed(Event):
    """Dead letters were given back to the consumers that had given up on them."""

    type: Literal["dead_letters.replayed.v1"] = "dead_letters.replayed.v1"
    letters: tuple[UUID, ...] = Field(description="The ids of the `dead.letter.v1`s.")


class DriftChosen(Event):
    """Somebody chose what follows from a VM's drift: for what is to come, or for what there is."""

    type: Literal["drift.chosen.v1"] = "drift.chosen.v1"
    vm_id: UUID
    choices: dict[str, DriftChoice] = Field(description="Per field; `*` is all other fields.")
    former: dict[str, DriftChoice] | None = Field(
        default=None, description="What stood before, where `standing`."
    )
    standing: bool = Field(description="False: only for the drift that there is now.")


AccessEvent = Annotated[
    KeyCreated
    | KeyRevoked
    | KeyRotated
    | RequestKeyRegistered
    | RequestKeyRevoked
    | Refused
    | Done
    | Overrode
    | Flooded
    | LettersReplayed
    | DriftChosen,
    Field(discriminator="type"),
]
