"""What audit is told from its environment, beyond what every service is."""

from pydantic import Field

from chassis.settings import Port, Settings


class AuditSettings(Settings):
    """`HOSTLER_*` variables of audit."""

    http_port: Port = 8004
    kafka_batch: int = Field(
        default=2000, ge=1, le=5000, description="Records that one transaction appends, at most."
    )
