"""What the OpenStack driver is told from its environment: `HOSTLER_OPENSTACK_*`.

Which clouds there are and how to log in to them stands in clouds.yaml, where openstacksdk looks for
it (OS_CLIENT_CONFIG_FILE, the working directory, ~/.config/openstack, /etc/openstack).
"""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class OpenStackSettings(BaseSettings):
    """The same for all accounts of one process."""

    model_config = SettingsConfigDict(env_prefix="HOSTLER_OPENSTACK_", extra="ignore")

    threads: int = Field(
        default=8, ge=1, le=64, description="Calls to one account at the same time."
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
