"""What the provisioner is told from its environment."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FilePath, SecretStr, ValidationInfo

from chassis.sealing import raw_key
from chassis.seals import Keyring, Trust
from chassis.settings import Settings


def _require_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    Keyring(keys)
    return keys


def _require_some(trust: Trust | None, info: ValidationInfo) -> Trust:
    keys: tuple[str, ...] = info.data.get("command_keys", ())
    if trust in {Trust.WARN, Trust.REQUIRE} and not keys:
        raise ValueError("needs HOSTLER_COMMAND_KEYS beside it")
    return trust or (Trust.REQUIRE if keys else Trust.OFF)


def _require_private(keys: SecretStr) -> SecretStr:
    for each in keys.get_secret_value().replace(",", " ").split():
        raw_key(each)
    return keys


class ProvisionerSettings(Settings):
    """The shared settings and the provisioner's own."""

    driver: str = Field(default="openstack", description="A name of drivers/registry.py.")
    command_keys: Annotated[tuple[str, ...], AfterValidator(_require_keys)] = Field(
        default=(),
        description="The public keys of gateways whose commands are carried out, as a JSON list: "
        '`["KEY", "KEY until 2026-12-01T00:00:00Z"]`; several while one takes another\'s place.',
    )
    command_signatures: Annotated[Trust | None, AfterValidator(_require_some)] = Field(
        default=None,
        validate_default=True,
        description="What becomes of commands that none of these has signed: believed (`off`), told "
        "in the log and believed (`warn`), refused (`require`). By default refused, if there are keys.",
    )
    sealing_keys: Annotated[SecretStr, AfterValidator(_require_private)] | None = Field(
        default=None,
        description="Private keys (`make sealing-key`) that open `user_data`, with commas between "
        "them: to the first it is sealed anew by `make rewrap`, the others are of before.",
    )
    sealing_keys_file: FilePath | None = Field(
        default=None, description="A file with such keys, behind those of HOSTLER_SEALING_KEYS."
    )
    account_concurrency: int = Field(
        default=64,
        ge=1,
        description="Operations of one cloud account that a process works on at a time: more than "
        "the driver lets out at once, so that many share a claim and a record. There is no bound in "
        "all, so that slow accounts take nothing from the others.",
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
    build_timeout: timedelta = Field(
        default=timedelta(minutes=10),
        description="How long a server may be built before its create is ended as `stalled`, as "
        "its `on_failure` says; its deadline (15 min), where that comes first, does the same.",
    )
    build_retries: int = Field(
        default=2,
        ge=0,
        description="How often a create with `on_failure: retry` is made anew at most.",
    )
    quota_wakes: int = Field(
        default=5,
        ge=1,
        description="How many operations that wait for quota are tried when a VM was deleted.",
    )
    orphans: Literal["report", "remove"] = Field(
        default="report",
        description="What becomes of orphans that are proven to be Hostler's: they are told only, "
        "or removed once `orphan_grace` has passed.",
    )
    orphan_grace: timedelta = Field(
        default=timedelta(hours=1), description="How long an orphan is left alone at least."
    )
    worker_drain: timedelta = Field(
        default=timedelta(seconds=5), description="How long a SIGTERM waits for calls under way."
    )
    operation_retention: timedelta = Field(
        default=timedelta(days=30),
        description="How long ended operations are kept; more than `inbox_retention`.",
    )
