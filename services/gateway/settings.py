"""What the gateway is told from its environment, beyond what every service is."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from chassis.settings import Port, Settings
from contracts.vm.events import DriftChoice

DAY = timedelta(days=1)


def _require_names(projects: dict[str, str]) -> dict[str, str]:
    if "*" in projects:
        raise ValueError("no project may be named *: to audit it stands for all of them")
    return projects


class GatewaySettings(Settings):
    """`HOSTLER_*` variables of the gateway."""

    http_port: Port = 8000
    projects: Annotated[dict[str, str], AfterValidator(_require_names)] = Field(
        default={"demo": "simulator"},
        min_length=1,
        description="Project id → its cloud account (a clouds.yaml entry), as a JSON object.",
    )
    first_api_key: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="An admin's key of the first project, 32 characters or more. Without it each "
        "project that has no key gets one at start, printed once to stderr.",
    )
    key_pepper: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Keys the hashes of API keys and signs page markers; by default derived from "
        "HOSTLER_INTERNAL_SECRET. Changing it makes all API keys invalid.",
    )
    key_cache: timedelta = Field(
        default=timedelta(seconds=5),
        description="How long a checked key is trusted: a revoked one works that much longer.",
    )
    audit_url: str = Field(default="http://127.0.0.1:8004", description="Where audit answers.")
    audit_timeout: timedelta = timedelta(seconds=15)
    max_body_bytes: int = 512 * 1024
    wait_cap: timedelta = Field(
        default=timedelta(seconds=60), description="The longest `Prefer: wait`."
    )
    idempotency_retention: timedelta = Field(
        default=DAY, description="How long an Idempotency-Key is remembered."
    )
    events_retention: timedelta = Field(
        default=7 * DAY, description="How far back a follower of /v1/events can resume."
    )
    drift: DriftChoice = Field(
        default="report",
        description="What follows where a VM is changed behind Hostler's back and nobody chose: "
        "`report` it, `correct` it by a command, `accept` or `ignore` it.",
    )
    drift_corrections: int = Field(
        default=3,
        ge=0,
        description="How often in an hour a field of a VM is corrected; then it is only reported.",
    )
    orphans: Literal["report", "remove"] = Field(
        default="report", description="As the provisioner's: for what GET /v1/orphans shows."
    )
    orphan_grace: timedelta = Field(
        default=timedelta(hours=1), description="As the provisioner's: for the same."
    )
    dead_letters_retention: timedelta = Field(
        default=90 * DAY, description="How long a dead letter can be looked at and replayed."
    )
    canary_every: timedelta = Field(
        default=timedelta(seconds=10),
        ge=timedelta(0),
        description="How often a canary is sent the whole way of a message; 0: never.",
    )
    canary_patience: timedelta = Field(
        default=timedelta(seconds=40),
        gt=timedelta(0),
        description="How long without a canary a stretch of the way is held to be sound.",
    )
    docs_cdn: bool = Field(
        default=True,
        description="Serve /docs, whose page loads Swagger UI from cdn.jsdelivr.net.",
    )
