"""What the OpenStack driver is told from its environment: `HOSTLER_OPENSTACK_*`.

Which clouds there are and how to log in to them stands in clouds.yaml, where openstacksdk looks for
it (OS_CLIENT_CONFIG_FILE, the working directory, ~/.config/openstack, /etc/openstack).
"""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from drivers.governor import Limits


class OpenStackSettings(BaseSettings):
    """The same for all accounts of one process."""

    model_config = SettingsConfigDict(env_prefix="HOSTLER_OPENSTACK_", extra="ignore")

    threads: int = Field(
        default=16,
        ge=2,
        le=64,
        description="Calls to one account at the same time, of each process: of a provisioner and "
        "of sync together it is the sum.",
    )
    sweep_threads: int = Field(
        default=4,
        ge=1,
        description="How many of them sweeps, catalogs and inventories may hold; users' commands "
        "always have at least one left. In sync nearly all calls are these.",
    )
    rate: float | None = Field(
        default=None,
        gt=0,
        description="Calls a second to one account, of each process; none: as fast as they go.",
    )
    sweep_rate: float | None = Field(
        default=None,
        gt=0,
        description="How many of them sweeps, catalogs and inventories may be: what an account "
        "allows is the provisioner's rate and this one of sync's. None: as many as the rate.",
    )
    burst: int = Field(
        default=50, ge=1, description="Calls at once after a rest, where there is a rate."
    )
    circuit_failures: int = Field(
        default=5,
        ge=1,
        description="Calls in a row without an answer, or with a 5xx, after which the account "
        "rests.",
    )
    circuit_rest: timedelta = Field(
        default=timedelta(seconds=5),
        description="How long it rests the first time; each time twice as long.",
    )
    circuit_longest_rest: timedelta = Field(
        default=timedelta(minutes=2), description="How long it rests at most."
    )
    token_margin: timedelta = Field(
        default=timedelta(seconds=60),
        description="A token that ends within that time is renewed before a call.",
    )
    connect_timeout: float = Field(default=4.0, gt=0, description="Seconds.")
    read_timeout: float = Field(
        default=25.0,
        gt=0,
        description="Seconds without a byte of the answer. Leases must last longer: what a killed "
        "worker has sent may take effect for that long.",
    )
    page_size: int = Field(
        default=1000, ge=1, description="Items per page; the cloud may have a lower cap."
    )
    busy_after: timedelta = Field(
        default=timedelta(seconds=2),
        description="When to ask again while a server has a task under way.",
    )

    @property
    def limits(self) -> Limits:
        """What the governor of each account keeps to."""
        return Limits(
            concurrency=self.threads,
            sweeps=min(self.sweep_threads, self.threads - 1),
            rate=self.rate,
            sweep_rate=self.sweep_rate,
            burst=self.burst,
            failures=self.circuit_failures,
            rest=self.circuit_rest.total_seconds(),
            longest_rest=self.circuit_longest_rest.total_seconds(),
        )
