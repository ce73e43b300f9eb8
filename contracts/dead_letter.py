"""A record that no consumer could read or handle, kept whole so that it can be replayed."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from contracts.message import Event


class DeadLetter(Event):
    """What was on Kafka, where, who gave up on it and why."""

    type: Literal["dead.letter.v1"] = "dead.letter.v1"
    topic: str
    partition: int
    offset: int
    consumer: str = Field(description="The consumer group that gave up.")
    reason: str
    key: str | None = Field(default=None, description="As text; undecodable bytes are escaped.")
    headers: dict[str, str] = Field(default_factory=dict)
    value_base64: str = Field(default="", description="The record's value, base64.")


class Replay(Event):
    """A dead letter to be tried again by the consumer that gave up on it, and by no other."""

    type: Literal["dead.replay.v1"] = "dead.replay.v1"
    letter_id: UUID = Field(description="The id of the `dead.letter.v1`.")
    letter: DeadLetter
