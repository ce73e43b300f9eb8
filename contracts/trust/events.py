"""What a service tells the audit of messages that it does not trust. No secrets."""

from typing import Literal

from pydantic import Field

from contracts.message import Event


class CommandRefused(Event):
    """A command stood on Kafka that the gateway has not signed as it stands there.

    But for its place nothing of it is known to be true: it is told as it was claimed.
    """

    type: Literal["command.refused.v1"] = "command.refused.v1"
    topic: str
    partition: int
    offset: int
    reason: str = Field(description="What is wrong with its signature.")
    claimed_type: str = Field(default="", max_length=255)
    claimed_id: str = Field(default="", max_length=255)
    claimed_actor: str = Field(default="", max_length=255)
    claimed_project: str = Field(default="", max_length=255)
    claimed_subject: str = Field(default="", max_length=255, description="The VM it names.")
