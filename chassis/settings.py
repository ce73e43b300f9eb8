"""What every service is told from its environment: `HOSTLER_*` variables, secrets as SecretStr."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Shared by all services; each one's own settings derive from it."""

    model_config = SettingsConfigDict(env_prefix="HOSTLER_", extra="ignore")

    http_host: str = "127.0.0.1"
    http_port: int = Field(default=0, description="0: one that is free.")
    log_level: str = "INFO"
    database_url: str = Field(
        default="sqlite+aiosqlite:///.local/{service}.db",
        description="SQLAlchemy URL; `{service}` becomes the service's name (SQLite: one file each).",
    )
    database_pool: int = Field(
        default=10, description="Connections to Postgres that one process may hold."
    )
    internal_secret: SecretStr = Field(
        default=SecretStr(""),
        description="What services sign to each other with; 32 characters or more.",
    )
    kafka_bootstrap_servers: str = Field(
        default="127.0.0.1:9092", description="`host:port`, several with commas between them."
    )
    kafka_enable_idempotence: bool = Field(
        default=True,
        description="Off only for brokers without idempotent producers (the embedded one).",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    kafka_batch: int = Field(
        default=500, description="Records that a consumer takes at once, at most."
    )
    inbox_retention: timedelta = Field(
        default=timedelta(days=8),
        description="How long a taken message is remembered; longer than Kafka can repeat it.",
    )
    drain_seconds: int = Field(
        default=8, description="How long a SIGTERM waits for what is under way."
    )
