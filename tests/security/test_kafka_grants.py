"""Who may do what on Kafka follows from the contracts, and every client goes by the settings."""

import ast
from pathlib import Path

import pytest

from chassis.consumer import group
from chassis.service import Service
from contracts.topics import SERVICES, TOPICS
from deploy.kafka.grants import ADMIN, BROKER, grants, principal_of, require_follower, table
from services.audit import app as audit
from services.audit.settings import AuditSettings
from services.gateway import app as gateway
from services.gateway.settings import GatewaySettings
from services.provisioner import app as provisioner
from services.provisioner.settings import ProvisionerSettings
from services.sync import app as sync
from services.sync.settings import SyncSettings

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = {"AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient", "KafkaBroker"}
_LOOKS = ("group", "describe")
HOMES = {"chassis/kafka.py"}
"""Where a client is put together from the settings themselves."""


def may(principal: str, operation: str) -> set[str]:
    return {
        g.name
        for g in grants()
        if (g.principal, g.resource, g.operation) == (principal, "topic", operation)
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_writes_and_reads_what_the_contracts_say_and_no_more(service: str) -> None:
    me = principal_of(service)
    assert may(me, "write") == {each.name for each in TOPICS if service in each.producers}
    assert may(me, "read") == {each.name for each in TOPICS if service in each.consumers}
    assert not [g for g in grants() if g.principal == me and g.resource == "cluster"]


def run(service: str) -> Service:
    """A service as its process builds it, not started."""
    said = {"internal_secret": "w" * 32, "signing_key": "k" * 43 + "="}
    match service:
        case "gateway":
            return gateway.build(GatewaySettings.model_validate(said)).service
        case "provisioner":
            return provisioner.build(ProvisionerSettings.model_validate(said))
        case "sync":
            return sync.build(SyncSettings.model_validate(said))
        case _:
            return audit.build(AuditSettings.model_validate(said)).service


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_join_the_groups_that_it_joins_and_no_others(service: str) -> None:
    """Read off the consumers that it builds, not off the contracts, and without a prefix."""
    joined = {group(service, each.topic if each.apart else None) for each in run(service).consumers}
    mine = [g for g in grants() if (g.principal, g.resource) == (principal_of(service), "group")]
    assert {g.name for g in mine if g.operation == "read"} == joined
    assert not any(g.prefixed for g in mine)


def test_only_the_gateway_looks_at_groups_of_others() -> None:
    """For how far each has got with the canary: to describe is not to join, nor to commit."""
    looks = {(g.principal, g.name) for g in grants() if (g.resource, g.operation) == _LOOKS}
    assert looks == {("hostler-gateway", f"hostler.{each}") for each in SERVICES}


def test_only_the_gateway_commands_and_only_the_gateway_replays() -> None:
    for topic in ("vm.commands", "dead.replays"):
        writers = {g.principal for g in grants() if (g.name, g.operation) == (topic, "write")}
        assert writers == {"hostler-gateway"}


def test_nobody_is_granted_everything_and_super_users_are_granted_nothing() -> None:
    for grant in grants(["billing"]):
        assert grant.operation not in {"all", "alter_configs_cluster", "cluster_action", "delete"}
        assert grant.name != "*"
        assert grant.principal not in {ADMIN, BROKER}


@pytest.mark.parametrize("name", ["hostler", "hostler-gateway", "*", "", "a b", "User:x", "x\ny"])
def test_a_follower_is_nobody_of_hostlers(name: str) -> None:
    with pytest.raises(ValueError, match="small letters"):
        require_follower(name)


def test_the_table_has_a_line_for_each_grant() -> None:
    assert len(table(grants()).splitlines()) == len(grants()) + 1


def constructed() -> list[tuple[str, ast.Call]]:
    """Every Kafka client that is made in the product."""
    files = [p for room in ("chassis", "services", "deploy") for p in (ROOT / room).rglob("*.py")]
    places = {str(file.relative_to(ROOT)): file for file in files}
    return [
        (place, node)
        for place, file in places.items()
        if place not in HOMES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and _name(node.func) in CLIENTS
    ]


def _name(called: ast.expr) -> str:
    return called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")


def test_every_client_of_kafka_is_let_in_as_the_settings_say() -> None:
    """One that is not made from `chassis.kafka.connection(settings)` works until locks are on."""
    places = constructed()
    assert {place for place, _ in places} >= {"chassis/lag.py", "deploy/topics.py"}
    for place, call in places:
        spread = [ast.unparse(k.value) for k in call.keywords if k.arg is None]
        known = {"connection", "connection(settings)"}
        assert known.intersection(spread), f"{place}:{call.lineno} does not ask the settings"
