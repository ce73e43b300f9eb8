"""How a run decides what it stands on."""

from pathlib import Path

import pytest

from deploy.local import broker
from deploy.local.broker import GivenBroker, Kind, choose_broker, open_broker
from deploy.local.embedded import EmbeddedBroker
from deploy.local.kafka_jars import FetchError
from deploy.local.postgres import GivenDatabase, LocalPostgres, open_database
from tests.infra.plan import decide

JAVA = "/usr/bin/java"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with Java, Maven, and no jars fetched yet."""
    monkeypatch.setattr(broker, "find_java", lambda: JAVA)
    monkeypatch.setattr(broker, "cached_jars", lambda: None)
    monkeypatch.setattr(broker.shutil, "which", "/usr/bin/{}".format)
    return monkeypatch


@pytest.mark.usefixtures("machine")
def test_java_and_maven_mean_kafka() -> None:
    assert choose_broker({}).kind is Kind.KAFKA


def test_without_java_the_embedded_broker_serves_and_the_reason_is_told(
    machine: pytest.MonkeyPatch,
) -> None:
    machine.setattr(broker, "find_java", lambda: None)
    choice = choose_broker({})
    assert choice.kind is Kind.EMBEDDED
    assert "Java" in choice.reason


def test_without_maven_the_embedded_broker_serves_unless_the_jars_are_cached(
    machine: pytest.MonkeyPatch,
) -> None:
    machine.setattr(broker.shutil, "which", find_nothing)
    assert choose_broker({}).kind is Kind.EMBEDDED
    machine.setattr(broker, "cached_jars", lambda: Path("/jars"))
    assert choose_broker({}).kind is Kind.KAFKA


@pytest.mark.usefixtures("machine")
def test_an_address_given_wins_over_everything() -> None:
    environment = {
        "HOSTLER_KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
        "HOSTLER_KAFKA_ENABLE_IDEMPOTENCE": "false",
        "HOSTLER_LOCAL_BROKER": "embedded",
    }
    choice = choose_broker(environment)
    opened = open_broker(choice, Path("unused"), environment=environment)
    assert opened == GivenBroker("kafka.example:9092", enable_idempotence=False)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("kind", ["kafka", "embedded"])
def test_the_kind_can_be_forced(kind: str) -> None:
    assert choose_broker({"HOSTLER_LOCAL_BROKER": kind}).kind == kind


def test_a_misspelt_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kafak"):
        choose_broker({"HOSTLER_LOCAL_BROKER": "kafak"})


def test_a_repository_out_of_reach_gives_way_to_the_embedded_broker_in_one_line(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine.setattr(broker, "fetch_jars", fail_to_fetch)
    said: list[str] = []
    opened = open_broker(choose_broker({}), tmp_path, said.append)
    assert isinstance(opened, EmbeddedBroker)
    assert len(said) == 1
    assert "no route" in said[0]


def test_a_forced_kafka_that_cannot_be_fetched_is_an_error(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine.setattr(broker, "fetch_jars", fail_to_fetch)
    with pytest.raises(FetchError):
        open_broker(choose_broker({"HOSTLER_LOCAL_BROKER": "kafka"}), tmp_path)


def find_nothing(_: str) -> None:
    return None


def fail_to_fetch(_: object) -> Path:
    raise FetchError("no route to the repository")


def test_a_database_url_given_is_used_as_it_is(tmp_path: Path) -> None:
    environment = {"HOSTLER_DATABASE_URL": "postgresql+psycopg://db.example/hostler"}
    assert open_database(tmp_path, environment) == GivenDatabase(*environment.values())
    assert isinstance(open_database(tmp_path, {}), LocalPostgres)


@pytest.mark.usefixtures("machine")
def test_images_of_a_docker_engine_come_before_local_processes() -> None:
    images = {"apache/kafka": "apache/kafka:4.1.0", "postgres": "postgres:17"}
    planned = decide({}, images)
    assert planned.broker_image == "apache/kafka:4.1.0"
    assert planned.database_image == "postgres:17"
    given = decide({"HOSTLER_LOCAL_BROKER": "embedded", "HOSTLER_DATABASE_URL": "x"}, images)
    assert given.broker_image is None
    assert given.database_image is None
