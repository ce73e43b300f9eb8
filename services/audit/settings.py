"""What audit is told from its environment, beyond what every service is."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from chassis.settings import Port, Settings
from services.audit.signing import require_key, require_keys


class AuditSettings(Settings):
    """`HOSTLER_*` variables of audit."""

    http_port: Port = 8004
    kafka_batch: int = Field(
        default=2000, ge=1, le=5000, description="Records that one transaction appends, at most."
    )
    signing_key: Annotated[SecretStr, AfterValidator(require_key)] | None = Field(
        default=None,
        description="The Ed25519 key of checkpoints: 32 bytes in base64, the same in all replicas; "
        "`openssl rand -base64 32` makes one. Without it the one in HOSTLER_SIGNING_KEY_FILE.",
    )
    signing_key_file: Path = Field(
        default=Path(".local/audit_signing_key"),
        description="Where that key is kept; made at the first start if there is none.",
    )
    former_keys: Annotated[tuple[str, ...], AfterValidator(require_keys)] = Field(
        default=(),
        description="Public keys (`x` of `GET /v1/audit/keys`) that signed checkpoints before.",
    )
    checkpoint_rows: int = Field(
        default=10_000, ge=1, description="A chain is signed after so many new rows, "
    )
    checkpoint_interval: timedelta = Field(
        default=timedelta(minutes=10), description="or so long after its last new row was signed."
    )
    ledger_retention: timedelta | None = Field(
        default=None,
        ge=timedelta(days=1),
        description="How long rows are kept, at least; by default for ever. They leave by months.",
    )
    verify_interval: timedelta = Field(
        default=timedelta(days=1), description="How often all of the ledger is walked unasked."
    )
    verify_rows: int = Field(
        default=50_000, ge=1, description="Rows that GET /v1/audit/verify walks, at most."
    )
    outcome_grace: timedelta = Field(
        default=timedelta(minutes=15),
        ge=timedelta(0),
        description="How long after its deadline a command without an outcome is told as `timeout`.",
    )
