"""Grants and users on a Kafka cluster, by its admin protocol: what there is, and what changes it."""
# confluent_kafka documents these names and does not mark them as its own to hand on.
# pyright: reportPrivateImportUsage=false

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, cast

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from chassis.kafka import password
from chassis.settings import Settings
from deploy.kafka.grants import Grant, Resource

PATIENCE_SECONDS = 15.0
_PATIENTLY = {"request_timeout": PATIENCE_SECONDS}
_ITERATIONS = 8192
_RESOURCES: Mapping[Resource, Any] = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "cluster": ResourceType.BROKER,
}
_NAMES: Mapping[Any, Resource] = {kind: name for name, kind in _RESOURCES.items()}
_PREFIX = "User:"


_any = cast("Any", AclBindingFilter)
"""None stands for anything, of which its types know nothing."""


class AdminError(RuntimeError):
    """Kafka refused, or did not answer; the message says which."""


class Admin:
    """A connection as somebody who may alter the cluster."""

    def __init__(self, settings: Settings) -> None:
        self._client = AdminClient(_options(settings))

    def grants_of(self, principals: Iterable[str]) -> set[Grant]:
        """What these may do now, for whatever host."""
        return {grant for each in principals for grant in self._grants_of(each)}

    def allow(self, grants: Iterable[Grant]) -> None:
        """Make grants; those that are there stay."""
        wanted = [_binding(each) for each in grants]
        if wanted:
            _wait(_asked(self._client).create_acls(wanted, **_PATIENTLY).values())

    def withdraw(self, grants: Iterable[Grant]) -> None:
        """Take grants away."""
        wanted = [_filter(each) for each in grants]
        if wanted:
            _wait(_asked(self._client).delete_acls(wanted, **_PATIENTLY).values())

    def set_passwords(self, passwords: Mapping[str, str]) -> None:
        """Make SCRAM-SHA-512 users, or give them other passwords."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
        wanted = [
            UserScramCredentialUpsertion(user, info, each.encode())
            for user, each in passwords.items()
        ]
        if wanted:
            changing = _asked(self._client).alter_user_scram_credentials(wanted, **_PATIENTLY)
            _wait(changing.values())

    def _grants_of(self, principal: str) -> set[Grant]:
        everything = _any(
            ResourceType.ANY,
            None,
            ResourcePatternType.ANY,
            f"{_PREFIX}{principal}",
            None,
            AclOperation.ANY,
            AclPermissionType.ALLOW,
        )
        [found] = _wait([_asked(self._client).describe_acls(everything, **_PATIENTLY)])
        return {_grant(each) for each in found}


def _options(settings: Settings) -> dict[str, str | int | float | bool]:
    """The settings of every service as librdkafka names them."""
    key_password = settings.kafka_ssl_key_password
    said: dict[str, str | int | float | bool] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "ssl.ca.location": str(settings.kafka_ssl_cafile or ""),
        "ssl.certificate.location": str(settings.kafka_ssl_certfile or ""),
        "ssl.key.location": str(settings.kafka_ssl_keyfile or settings.kafka_ssl_certfile or ""),
        "ssl.key.password": key_password.get_secret_value() if key_password else "",
        "client.id": "hostler-acls",
        "log_level": "0",
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        said |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_username,
            "sasl.password": password(settings),
        }
    return {name: value for name, value in said.items() if value}


def _asked(client: AdminClient) -> Any:
    """The client, whose futures have no types."""
    return client


def _wait(asked: Iterable[Future[list[AclBinding]]]) -> list[list[AclBinding]]:
    """What was answered; AdminError for the first that is a refusal."""
    try:
        return [each.result(PATIENCE_SECONDS + 5) for each in asked]
    except KafkaException as error:
        raise AdminError(str(error.args[0].name())) from error
    except TimeoutError as error:
        raise AdminError("Kafka does not answer") from error


def _pattern(grant: Grant) -> Any:
    return ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL


def _binding(grant: Grant) -> AclBinding:
    return AclBinding(
        _RESOURCES[grant.resource],
        grant.name,
        _pattern(grant),
        f"{_PREFIX}{grant.principal}",
        "*",
        AclOperation[grant.operation.upper()],
        AclPermissionType.ALLOW,
    )


def _filter(grant: Grant) -> AclBindingFilter:
    return _any(
        _RESOURCES[grant.resource],
        grant.name,
        _pattern(grant),
        f"{_PREFIX}{grant.principal}",
        None,
        AclOperation[grant.operation.upper()],
        AclPermissionType.ALLOW,
    )


def _grant(found: Any) -> Grant:
    return Grant(
        found.principal.removeprefix(_PREFIX),
        _NAMES[found.restype],
        found.name,
        found.operation.name.lower(),
        found.resource_pattern_type is ResourcePatternType.PREFIXED,
    )
