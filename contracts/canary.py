"""The canary: a message that goes the whole way, so that silence is noticed."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from contracts.message import Event


class Sent(Event):
    """A canary was let go: said in a transaction, as every other message is."""

    type: Literal["canary.sent.v1"] = "canary.sent.v1"


class Heard(Event):
    """A service has taken a canary and written that down."""

    type: Literal["canary.heard.v1"] = "canary.heard.v1"
    canary: UUID = Field(description="The id of the `canary.sent.v1`.")
    service: str
    sent_at: datetime


CanaryEvent = Annotated[Sent | Heard, Field(discriminator="type")]
