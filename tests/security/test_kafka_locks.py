"""A real Kafka with its authorizer on: all of Hostler works there, and nobody may do more than that.

What each may do is written down here by hand, from docs/api/topics.md, not derived as the grants are.
"""
# aiokafka tells half of its types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from aiokafka.structs import OffsetAndMetadata

from chassis.kafka import connection, knock
from chassis.service import Service
from chassis.settings import Settings
from deploy.kafka.acls import apply
from deploy.kafka.admin import Admin, AdminError
from deploy.kafka.grants import Grant, grants
from deploy.local.kafka_jars import find_java
from deploy.local.secured import SecuredKafka
from deploy.local.stack import SERVICES, Stack
from tests.faults.scene import Scene

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(find_java() is None, reason="there is no Java for Apache Kafka"),
]

SAYS = {
    "gateway": {
        "vm.commands",
        "vm.events",
        "audit.events",
        "dead.letters",
        "dead.replays",
        "canary",
    },
    "provisioner": {"vm.events", "cloud.inventory", "audit.events", "dead.letters", "canary"},
    "sync": {
        "vm.events",
        "vm.state",
        "cloud.catalog",
        "cloud.inventory",
        "audit.events",
        "dead.letters",
        "canary",
    },
    "audit": {"audit.events", "dead.letters", "canary"},
    "topics": set[str](),
    "rebuild": set[str](),
}
HEARS = {
    "gateway": {
        "vm.events",
        "cloud.catalog",
        "cloud.inventory",
        "dead.letters",
        "dead.replays",
        "canary",
    },
    "provisioner": {"vm.commands", "vm.events", "cloud.inventory", "dead.replays", "canary"},
    "sync": {"vm.events", "dead.replays", "canary"},
    "audit": {
        "vm.commands",
        "vm.events",
        "cloud.inventory",
        "audit.events",
        "dead.letters",
        "dead.replays",
        "canary",
    },
    "topics": set[str](),
    "rebuild": {"vm.commands", "vm.events", "vm.state", "cloud.catalog", "cloud.inventory"},
}
TOPICS = sorted(set().union(*SAYS.values()))
JOINS = {
    "gateway": {"hostler.gateway"},
    "provisioner": {"hostler.provisioner", "hostler.provisioner.vm.commands"},
    "sync": {"hostler.sync"},
    "audit": {"hostler.audit"},
    "topics": set[str](),
    "rebuild": set[str](),
}
GROUPS = {
    *set[str]().union(*JOINS.values()),
    "hostler.gateway.vm.events",
    "hostler.provisioner.vm.events",
    "hostler.sync.canary",
    "billing",
    "anything",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All services, each as its own user."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "HOSTLER_"))}
    wanted = {"HOSTLER_LOCAL_BROKER": "secured", "HOSTLER_SWEEP_INTERVAL_SECONDS": "1"}
    made = Stack(tmp_path_factory.mktemp("locked"), environment=kept | wanted)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def kafka(stack: Stack) -> SecuredKafka:
    """The broker, once the services are still: what is tried here is no message."""
    for service in SERVICES:
        stack.parts[service].stop()
    broker = stack.parts["broker"]
    assert isinstance(broker, SecuredKafka)
    return broker


def test_a_vm_is_made_and_audited_by_services_that_may_do_no_more_than_the_contracts_say(
    stack: Stack,
) -> None:
    scene = Scene(stack)
    try:
        scene.until(scene.has_catalog, "the catalog is there")
        vm_id = scene.active()
        scene.until(lambda: len(audited(scene, vm_id)) >= 4, "audit has heard of it")
        scene.until(lambda: ready(scene, "canary"), "the canary goes the whole way")
        assert scene.ended(scene.delete(vm_id))["state"] == "succeeded"
    finally:
        scene.close()


def audited(scene: Scene, vm_id: str) -> list[dict[str, Any]]:
    answer = scene.http.get(f"/v1/audit?vm_id={vm_id}").raise_for_status()
    return list(answer.json()["items"])


def ready(scene: Scene, check: str) -> bool:
    return bool(scene.http.get("/readyz").json()["checks"][check]["ok"])


def settings(kafka: SecuredKafka, who: str, *, certified: bool = False) -> Settings:
    user = f"hostler-{who}"
    said = kafka.by_certificate(user) if certified else kafka.by_password(user)
    return Settings.model_validate(said)


@asynccontextmanager
async def producing(options: dict[str, Any]) -> AsyncGenerator[Any]:
    made = AIOKafkaProducer(**options, request_timeout_ms=5000)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def consuming(
    options: dict[str, Any], *topics: str, group: str | None = None
) -> AsyncGenerator[Any]:
    made = AIOKafkaConsumer(
        *topics, **options, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


async def may_say(options: dict[str, Any], topic: str) -> bool:
    async with producing(options) as producer:
        try:
            await producer.send_and_wait(topic, b"not a message", key=b"k", partition=0)
        except TopicAuthorizationFailedError:
            return False
        return True


async def may_hear(options: dict[str, Any], topic: str) -> bool:
    """Whether the record comes that is there."""
    try:
        async with asyncio.timeout(20), consuming(options, topic) as consumer:
            await consumer.getone()
    except TopicAuthorizationFailedError:
        return False
    return True


@pytest.fixture(scope="module")
async def filled(kafka: SecuredKafka) -> SecuredKafka:
    """There is something to be heard on every topic."""
    options = connection(Settings.model_validate(kafka.admin()))
    assert [topic for topic in TOPICS if not await may_say(options, topic)] == []
    return kafka


@pytest.mark.parametrize("who", list(SAYS))
@pytest.mark.parametrize("certified", [False, True], ids=["by_password", "by_certificate"])
async def test_nobody_says_or_hears_more_than_is_written_down(
    filled: SecuredKafka, who: str, certified: bool
) -> None:
    options = connection(settings(filled, who, certified=certified))
    said = {topic for topic in TOPICS if await may_say(options, topic)}
    heard = {topic for topic in TOPICS if await may_hear(options, topic)}
    assert (said, heard) == (SAYS[who], HEARS[who])


async def may_commit(options: dict[str, Any], group: str, topic: str) -> bool:
    """Whoever can could have a group skip what it has not heard."""
    async with asyncio.timeout(20), consuming(options, group=group) as consumer:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        try:
            await consumer.commit({place: OffsetAndMetadata(0, "")})
        except GroupAuthorizationFailedError:
            return False
        return True


async def may_join(options: dict[str, Any], group: str, topic: str) -> bool:
    """Whoever can could take a group's partitions from it."""
    try:
        async with asyncio.timeout(20), consuming(options, topic, group=group) as consumer:
            await consumer.getone()
    except GroupAuthorizationFailedError:
        return False
    return True


@pytest.mark.parametrize("who", list(JOINS))
async def test_nobody_takes_the_place_of_a_group_that_is_not_theirs(
    filled: SecuredKafka, who: str
) -> None:
    options = connection(settings(filled, who))
    topic = "vm.events" if who == "rebuild" else "canary"
    assert {each for each in GROUPS if await may_commit(options, each, topic)} == JOINS[who]


@pytest.mark.parametrize("who", ["provisioner", "audit"])
async def test_a_group_that_is_not_theirs_is_not_joined_either(
    filled: SecuredKafka, who: str
) -> None:
    options = connection(settings(filled, who))
    tried = {"hostler.gateway", "hostler.sync", f"hostler.{who}"}
    assert {each for each in tried if await may_join(options, each, "vm.commands")} == {
        f"hostler.{who}"
    }


@pytest.mark.parametrize("who", list(SAYS))
def test_no_service_may_give_itself_rights_or_users_passwords(
    kafka: SecuredKafka, who: str
) -> None:
    admin = Admin(settings(kafka, who))
    with pytest.raises(AdminError, match="AUTHORIZATION_FAILED"):
        admin.allow([Grant(f"hostler-{who}", "topic", "vm.commands", "write")])
    with pytest.raises(AdminError, match="AUTHORIZATION_FAILED"):
        admin.set_passwords({"hostler-gateway": "stolen"})


def test_what_is_beyond_the_contracts_is_taken_away_and_others_grants_are_not(
    kafka: SecuredKafka,
) -> None:
    as_admin = Settings.model_validate(kafka.admin())
    admin = Admin(as_admin)
    surplus = Grant("hostler-audit", "topic", "vm.commands", "write")
    others = Grant("somebody", "topic", "vm.commands", "write")
    admin.allow([surplus, others])
    assert apply(as_admin) == f"{len(grants())} grants: 0 new, 1 taken away"
    assert surplus not in admin.grants_of(["hostler-audit"])
    assert admin.grants_of(["somebody"]) == {others}
    assert apply(as_admin) == f"{len(grants())} grants: 0 new, 0 taken away"


async def test_a_follower_hears_of_vms_and_says_nothing(filled: SecuredKafka) -> None:
    as_admin = Settings.model_validate(filled.admin())
    apply(as_admin, filled.passwords, ["billing"])
    options = connection(Settings.model_validate(filled.by_password("billing")))
    assert {topic for topic in TOPICS if await may_say(options, topic)} == set()
    heard = {topic for topic in TOPICS if await may_hear(options, topic)}
    assert heard == {"vm.events", "vm.state"}
    tried = [*GROUPS, "billing.nightly"]
    joined = {each for each in tried if await may_commit(options, each, "vm.events")}
    assert joined == {"billing", "billing.nightly"}


LOCKED_OUT: list[tuple[dict[str, str], str]] = [
    ({"kafka_password": "wrong"}, "it refuses the user 'hostler-gateway' or the password"),
    ({"kafka_username": "nobody"}, "it refuses the user 'nobody' or the password"),
    ({"kafka_security_protocol": "PLAINTEXT"}, "what comes with PLAINTEXT"),
    ({"kafka_security_protocol": "SASL_PLAINTEXT"}, "what comes with SASL_PLAINTEXT"),
    ({"kafka_ssl_cafile": ""}, "its certificate is not to be trusted"),
]


@pytest.mark.parametrize(("wrong", "told"), LOCKED_OUT)
async def test_who_is_not_let_in_is_told_why_in_the_log_and_at_readyz(
    kafka: SecuredKafka,
    wrong: dict[str, str],
    told: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = kafka.by_password("hostler-gateway") | wrong
    made = Settings.model_validate(
        {k: v for k, v in given.items() if v}
        | {"database_url": f"sqlite+aiosqlite:///{tmp_path}/x.db"}
    )
    with pytest.raises(ConnectionError, match=told):
        await knock(made)
    service = Service("gateway", made)
    async with service.running():
        async with asyncio.timeout(30):
            while told not in await why(service):
                await asyncio.sleep(0.05)
    lines = [each.getMessage() for each in caplog.records if each.name == "chassis.service"]
    assert any("connect waits: Kafka at" in line and told in line for line in lines)
    assert "kafka_password" not in wrong or wrong["kafka_password"] not in caplog.text


async def why(service: Service) -> str:
    try:
        return await service.probe_kafka()
    except ConnectionError as error:
        return str(error)


async def test_without_a_certificate_the_port_of_certificates_is_shut(kafka: SecuredKafka) -> None:
    given = kafka.by_certificate("hostler-gateway")
    del given["kafka_ssl_certfile"]
    with pytest.raises(ConnectionError, match="Kafka at"):
        await knock(Settings.model_validate(given))
    await knock(settings(kafka, "gateway", certified=True))
