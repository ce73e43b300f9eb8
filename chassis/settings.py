"""What every service is told from its environment: `HOSTLER_*` variables, secrets as SecretStr."""

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    ValidationInfo,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

PREFIX = "HOSTLER_"
Port = Annotated[int, Field(ge=0, le=65535)]
_DATABASES = {"postgresql+psycopg", "sqlite+aiosqlite"}
_ADDRESS = re.compile(r"[^\s,]+:\d{1,5}")


def _require_database(url: str) -> str:
    try:
        known = make_url(url).drivername in _DATABASES
    except (ArgumentError, ValueError):
        known = False
    if not known:
        raise ValueError("begin it with postgresql+psycopg:// or sqlite+aiosqlite:///")
    return url


def _require_owner(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith("postgresql+psycopg://"):
        raise ValueError("begin it with postgresql+psycopg://; SQLite has no roles")
    return url


def _require_addresses(text: str) -> str:
    if not all(_ADDRESS.fullmatch(part) for part in text.split(",")):
        raise ValueError("write host:port, several with commas between them")
    return text


def _require_certificate(key: FilePath, info: ValidationInfo) -> FilePath:
    if info.data.get("tls_certfile") is None:
        raise ValueError("needs HOSTLER_TLS_CERTFILE beside it")
    return key


def _require_own_certificate(key: FilePath, info: ValidationInfo) -> FilePath:
    if info.data.get("kafka_ssl_certfile") is None:
        raise ValueError("needs HOSTLER_KAFKA_SSL_CERTFILE beside it")
    return key


def _require_user(name: str, info: ValidationInfo) -> str:
    if not name and _is_sasl(info):
        raise ValueError("is needed with SASL")
    return name


def _require_password(file: FilePath | None, info: ValidationInfo) -> FilePath | None:
    given = info.data.get("kafka_password", SecretStr("")).get_secret_value()
    if bool(given) == (file is not None) and (given or _is_sasl(info)):
        raise ValueError("SASL needs either this or HOSTLER_KAFKA_PASSWORD")
    return file


def _is_sasl(info: ValidationInfo) -> bool:
    return str(info.data.get("kafka_security_protocol", "")).startswith("SASL")


def complaints(error: ValueError | OSError) -> list[str]:
    """What is wrong with the settings, one line each, without values: they may be secret."""
    if isinstance(error, ValidationError):
        return [
            f"{'.'.join([_variable(str(each['loc'][0])), *map(str, each['loc'][1:])])}: "
            f"{each['msg'].removeprefix('Value error, ')}"
            for each in error.errors(include_input=False, include_url=False, include_context=False)
        ]
    if isinstance(error, SettingsError) and (field := re.search(r'field "(\w+)"', str(error))):
        return [f"{_variable(field[1])}: is not JSON, which it has to be"]
    return [str(error)]


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


class Settings(BaseSettings):
    """Shared by all services; each one's own settings derive from it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    http_host: str = "127.0.0.1"
    http_port: Port = Field(default=0, description="0: one that is free.")
    tls_certfile: FilePath | None = Field(
        default=None,
        description="The certificate, with its chain, to serve HTTPS (TLS 1.2 and later) with; "
        "without one it is plain HTTP, for a proxy before it.",
    )
    tls_keyfile: Annotated[FilePath, AfterValidator(_require_certificate)] | None = Field(
        default=None, description="The certificate's key, where it is not in the same file."
    )
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)
    ] = "INFO"
    database_url: Annotated[str, AfterValidator(_require_database)] = Field(
        default="sqlite+aiosqlite:///.local/{service}.db",
        description="SQLAlchemy URL; `{service}` becomes the service's name (SQLite: one file each).",
    )
    database_owner_url: Annotated[SecretStr, AfterValidator(_require_owner)] | None = Field(
        default=None,
        description="The same database as the role that owns the schema, for migrations (and "
        "audit's retention): the role of HOSTLER_DATABASE_URL then has but the rights it needs.",
    )
    database_pool: int = Field(
        default=10,
        description="Connections to Postgres that one process may hold; the gateway as many again "
        "for what it reads and writes in a project's name.",
    )
    internal_secret: SecretStr = Field(
        default=SecretStr(""),
        description="What services sign to each other with; 32 characters or more.",
    )
    kafka_bootstrap_servers: Annotated[str, AfterValidator(_require_addresses)] = Field(
        default="127.0.0.1:9092", description="`host:port`, several with commas between them."
    )
    kafka_enable_idempotence: bool = Field(
        default=True,
        description="Off only for brokers without idempotent producers (the embedded one).",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT",
        description="How brokers know a service: SASL_SSL by user and password over TLS, SSL by its "
        "certificate (mTLS). The others are for one machine alone.",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_username: Annotated[str, AfterValidator(_require_user)] = Field(
        default="",
        validate_default=True,
        description="The service's own principal; what it may do is in deploy/kafka/grants.py.",
    )
    kafka_password: SecretStr = SecretStr("")
    kafka_password_file: Annotated[FilePath | None, AfterValidator(_require_password)] = Field(
        default=None,
        validate_default=True,
        description="Where the password stands, if HOSTLER_KAFKA_PASSWORD does not say it.",
    )
    kafka_ssl_cafile: FilePath | None = Field(
        default=None, description="Whom to believe about brokers; by default the system's list."
    )
    kafka_ssl_certfile: FilePath | None = Field(
        default=None, description="The service's own certificate, with its chain, for mTLS."
    )
    kafka_ssl_keyfile: Annotated[FilePath, AfterValidator(_require_own_certificate)] | None = Field(
        default=None, description="The certificate's key, where it is not in the same file."
    )
    kafka_ssl_key_password: SecretStr | None = Field(
        default=None, description="What that key is encrypted with, if it is."
    )
    kafka_batch: int = Field(
        default=500, description="Records that a consumer takes at once, at most."
    )
    dead_letters_count: int = Field(
        default=50,
        ge=1,
        description="A consumer that has made as many dead letters of a topic within the window, and "
        "of as large a share of its records, makes no more: it waits, and is not ready.",
    )
    dead_letters_share: float = Field(default=0.5, ge=0, le=1)
    dead_letters_window: timedelta = timedelta(minutes=10)
    inbox_retention: timedelta = Field(
        default=timedelta(days=8),
        description="How long a taken message is remembered; longer than Kafka can repeat it.",
    )
    drain_seconds: int = Field(
        default=8, description="How long a SIGTERM waits for what is under way."
    )
