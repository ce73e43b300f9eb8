"""Keys made and revoked, and requests that were refused. Never holds a secret."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.identity import Role
from contracts.message import Event


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


AccessEvent = Annotated[KeyCreated | KeyRevoked | Refused, Field(discriminator="type")]
