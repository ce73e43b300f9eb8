"""What sync is told from its environment, beyond what every service is."""

from datetime import timedelta

from pydantic import Field, SecretStr, model_validator

from chassis.settings import Port, Settings


class SyncSettings(Settings):
    """`HOSTLER_*` variables of sync. Intervals are seconds."""

    http_port: Port = 8002
    projects: dict[str, str] = Field(
        default={"demo": "simulator"},
        min_length=1,
        description="Project id → its cloud account (a clouds.yaml entry), as a JSON object.",
    )
    notifications: dict[str, SecretStr] = Field(
        default={},
        description="Cloud account → the `amqp://` or `amqps://` URL of its Nova's RabbitMQ, as a "
        "JSON object: what Nova says there is looked at at once.",
    )
    driver: str = Field(default="openstack", description="The kind of cloud, see drivers/registry.")
    sweep_interval_seconds: float = Field(
        default=10.0, gt=0, description="How old a change behind Hostler's back may get, about."
    )
    sweep_fast_seconds: float = Field(
        default=0.5, gt=0, description="The same while an operation on the account is under way."
    )
    sweep_overlap_seconds: float = Field(
        default=5.0, ge=0, description="How far a sweep reaches back behind the last one's clock."
    )
    explain_seconds: float = Field(
        default=1.0,
        ge=0,
        description="How long a change that no operation explains waits for one to be heard of, "
        "before it is said to be external, at most; less where messages come promptly. Less than "
        "the overlap.",
    )
    sweep_full_seconds: float = Field(
        default=600.0, gt=0, description="How often all servers are listed, not the changed alone."
    )
    catalog_interval_seconds: float = Field(default=60.0, gt=0)
    inventory_interval_seconds: float = Field(
        default=300.0,
        gt=0,
        description="How often everything in an account is listed to find what no VM has any more; "
        "an orphan is told when it is found so twice in a row.",
    )
    look_after_seconds: float = Field(
        default=5.0, gt=0, description="How long to wait for a sweep to show what an order did."
    )
    delete_look_after_seconds: float = Field(
        default=2.0, gt=0, description="The same for a delete: some clouds forget at once."
    )
    looks_per_round: int = Field(
        default=10, ge=1, description="Targeted looks per sweep of an account, at most."
    )
    backoff_max_seconds: float = Field(default=60.0, gt=0)

    @model_validator(mode="after")
    def _notifications_are_usable(self) -> "SyncSettings":
        for account, url in self.notifications.items():
            if account not in self.accounts:
                raise ValueError(f"notifications: {account!r} is no account of a project")
            if not url.get_secret_value().startswith(("amqp://", "amqps://")):
                raise ValueError(f"notifications: begin the URL of {account!r} with amqp(s)://")
        return self

    @property
    def accounts(self) -> list[str]:
        """The accounts to watch, each once."""
        return sorted(set(self.projects.values()))

    @property
    def quiet(self) -> timedelta:
        """How long an operation whose VM shows no change waits for the next word about it.

        Less than `look_after_seconds`, so that a sweep that answers spares the look.
        """
        return timedelta(seconds=self.look_after_seconds * 0.6)

    @property
    def overlap(self) -> timedelta:
        """`sweep_overlap_seconds` as a duration."""
        return timedelta(seconds=self.sweep_overlap_seconds)
