"""What the gateway is told from its environment, beyond what every service is."""

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FilePath, SecretStr

from chassis.sealing import PublicKey
from chassis.seals import seed_of
from chassis.settings import Port
from contracts.identity import Scope
from contracts.vm.events import DriftChoice
from services.gateway.identity.addresses import Cidr, ForwardedHeader
from services.gateway.identity.settings import IdentitySettings
from services.gateway.limits.policies import DEFAULTS, RateLimits

DAY = timedelta(days=1)


def _require_names(projects: dict[str, str]) -> dict[str, str]:
    if "*" in projects:
        raise ValueError("no project may be named *: to audit it stands for all of them")
    if hidden := [name for name in projects if not name or not name.isprintable()]:
        raise ValueError(f"no project may be named {hidden[0]!r}")
    return projects


def _require_seed(key: SecretStr) -> SecretStr:
    seed_of(key.get_secret_value())
    return key


def _require_redis(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("redis://", "rediss://")):
        raise ValueError("begin it with redis:// or rediss://")
    return url


def _require_public(key: str) -> str:
    PublicKey.read(key)
    return key


def _require_origin(origin: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?", origin):
        raise ValueError("write origins like https://console.example.org, without a path; no *")
    return origin


class GatewaySettings(IdentitySettings):
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
    command_key: Annotated[SecretStr, AfterValidator(_require_seed)] | None = Field(
        default=None,
        description="The Ed25519 key that commands are signed with: 32 bytes in base64, the same in "
        "all gateways; `python -m deploy.command_key` makes one. By default it follows from "
        "HOSTLER_INTERNAL_SECRET, which audit has, too.",
    )
    sealing_public_key: Annotated[str, AfterValidator(_require_public)] | None = Field(
        default=None,
        description="What `user_data` is sealed to: the public half of the first of the "
        "provisioner's HOSTLER_SEALING_KEYS. Without it, of a key that follows from "
        "HOSTLER_INTERNAL_SECRET, by which the gateway could open it, too.",
    )
    key_cache: timedelta = Field(
        default=timedelta(seconds=5),
        description="How long a checked key is trusted: a revoked one works that much longer.",
    )
    audit_url: str = Field(default="http://127.0.0.1:8004", description="Where audit answers.")
    audit_timeout: timedelta = timedelta(seconds=15)
    max_body_bytes: int = 512 * 1024
    max_headers: int = Field(default=100, description="Header fields of a request, at most.")
    max_header_bytes: int = Field(
        default=32 * 1024, description="Length of all their names and values together, at most."
    )
    body_timeout: timedelta = Field(
        default=timedelta(seconds=30),
        gt=timedelta(0),
        description="How long a request's body may take to arrive; then it is answered with 408.",
    )
    hsts_seconds: int = Field(
        default=31_536_000,
        ge=0,
        description="What Strict-Transport-Security says where HTTPS was used; 0: nothing.",
    )
    cors_origins: list[Annotated[str, AfterValidator(_require_origin)]] = Field(
        default=[],
        description="Origins whose pages may call the API from a browser, as a JSON list.",
    )
    trusted_proxies: list[Cidr] = Field(
        default=[],
        description="Networks of the proxies before the gateway, as a JSON list: only from these "
        "is believed what they say of a caller's address and scheme.",
    )
    forwarded_header: ForwardedHeader = Field(
        default="x-forwarded-for",
        description="Which header those proxies write; the other one is not looked at, since "
        "anybody can send it through them.",
    )
    allowed_addresses: dict[str, list[Cidr]] = Field(
        default={},
        description='Project → the networks it can be reached from: `{"demo":["10.0.0.0/8"]}`. A '
        "project that is not named can be reached from anywhere.",
    )
    redis_url: Annotated[SecretStr, AfterValidator(_require_redis)] | None = Field(
        default=None,
        description="`redis://…`: where all gateways count together how often somebody asks. "
        "Without it, and while it is gone, each gateway counts by itself.",
    )
    rate_limits: RateLimits = Field(
        default=DEFAULTS,
        description="Class of routes → who is counted → rates. What is not named keeps its default; "
        "an empty text is no limit. See docs/limits.md.",
    )
    signed_permissions: list[Scope] = Field(
        default=[],
        description='Permissions that ask for a signed request, as a JSON list: `["vm.delete", '
        '"api_key.*"]`. See docs/limits.md.',
    )
    signature_max_age: timedelta = Field(
        default=timedelta(minutes=5),
        gt=timedelta(0),
        description="How long after it was made a signature holds.",
    )
    policy_file: FilePath | None = Field(
        default=None,
        description="A YAML file of roles that permissions ask for and of roles of one's own; read "
        "again when it changes. See docs/security.md.",
    )
    max_waits: int = Field(
        default=2000,
        ge=1,
        description="How many requests with `Prefer: wait` one caller may have open at a gateway.",
    )
    max_streams: int = Field(default=2000, ge=1, description="The same of GET /v1/events.")
    wait_cap: timedelta = Field(
        default=timedelta(seconds=60), description="The longest `Prefer: wait`."
    )
    idempotency_retention: timedelta = Field(
        default=DAY, description="How long an Idempotency-Key is remembered."
    )
    events_retention: timedelta = Field(
        default=7 * DAY,
        description="How far back a follower of /v1/events can resume, and how long orphans and "
        "unmanaged servers that are gone are remembered.",
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
    docs_page: bool = Field(
        default=True, description="Serve /docs, the API's reference as a page (Swagger UI)."
    )
