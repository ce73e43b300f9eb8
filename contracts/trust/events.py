"""What a service tells the audit of itself, and of messages that it does not trust. No secrets."""

from typing import Annotated, Literal

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


class SettingsChanged(Event):
    """A service has started with other settings than it had at its last start."""

    type: Literal["settings.changed.v1"] = "settings.changed.v1"
    service: str
    names: tuple[str, ...] = Field(
        description="The variables that are otherwise. `HOSTLER_INTERNAL_SECRET` alone: there may "
        "be others, which cannot be told under another secret."
    )
    digest: str = Field(description="Of all settings, by a key: the same for the same ones.")


TrustEvent = Annotated[CommandRefused | SettingsChanged, Field(discriminator="type")]
