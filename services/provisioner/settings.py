"""What the provisioner is told from its environment."""

from datetime import timedelta

from pydantic import Field

from chassis.settings import Settings


class ProvisionerSettings(Settings):
    """The shared settings and the provisioner's own."""

    driver: str = Field(default="openstack", description="A name of drivers/registry.py.")
    worker_concurrency: int = Field(
        default=32, ge=1, description="Calls to clouds that one process makes at a time."
    )
    account_concurrency: int = Field(
        default=16,
        ge=1,
        description="The same per account, so that a slow cloud does not starve the others.",
    )
    poll: timedelta = Field(
        default=timedelta(milliseconds=500),
        description="How often to look for work that nobody woke the worker for.",
    )
    lease_ttl: timedelta = Field(
        default=timedelta(seconds=30),
        description="A killed worker's operation is taken over after that time.",
    )
    call_timeout: timedelta = Field(
        default=timedelta(minutes=2), description="How long one attempt may take."
    )
    settle: timedelta = Field(
        default=timedelta(seconds=3),
        description="How long an unanswered request may take to show in the cloud.",
    )
    backoff_base: timedelta = timedelta(seconds=1)
    backoff_cap: timedelta = timedelta(seconds=30)
    bug_tries: int = Field(default=3, description="Attempts that may end in a bug of Hostler's.")
    undo_limit: timedelta = Field(
        default=timedelta(minutes=10), description="How long to try to undo a create."
    )
    worker_drain: timedelta = Field(
        default=timedelta(seconds=5), description="How long a SIGTERM waits for calls under way."
    )
    operation_retention: timedelta = Field(
        default=timedelta(days=30),
        description="How long ended operations are kept; more than `inbox_retention`.",
    )
