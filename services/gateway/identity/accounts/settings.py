"""What the gateway is told about API keys and service accounts."""

from datetime import timedelta

from pydantic import Field

from chassis.settings import Settings

DAY = timedelta(days=1)


class AccountSettings(Settings):
    """`HOSTLER_*` variables about keys and service accounts."""

    api_key_lifetime: timedelta | None = Field(
        default=None,
        gt=timedelta(0),
        le=3650 * DAY,
        description="How long an API key works that is made without an end; by default for ever, or "
        "as long as it may.",
    )
    api_key_max_lifetime: timedelta | None = Field(
        default=None,
        gt=timedelta(0),
        le=3650 * DAY,
        description="The longest that an API key may work; by default there is no bound.",
    )
    service_token_lifetime: timedelta = Field(
        default=timedelta(minutes=10),
        ge=timedelta(minutes=1),
        le=timedelta(hours=1),
        description="How long an access token of a service account works.",
    )
