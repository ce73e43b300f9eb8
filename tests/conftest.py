"""What tests may ask for: a broker, databases and a cloud, each started at the first request."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.broker import Broker
from deploy.local.cloud import GivenCloud, LocalCloud
from tests.infra.databases import own_database
from tests.infra.plan import Infrastructure, plan

# Whoever asks for one of these runs on the broker: `make test-embedded` repeats these tests.
ON_THE_BROKER = frozenset({"kafka", "own_broker", "scene"})


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "broker: needs a Kafka broker (set by the fixtures asked for)"
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    if ON_THE_BROKER.intersection(getattr(item, "fixturenames", ())):
        item.add_marker("broker")


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Say what the run stands on. pytest's own header hook is silent under -q."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        for line in plan().lines():
            reporter.write_line(line)


@pytest.fixture(scope="session")
def infrastructure() -> Iterator[Infrastructure]:
    started = Infrastructure(plan())
    yield started
    started.close()


@pytest.fixture(scope="session")
def kafka(infrastructure: Infrastructure) -> Broker:
    """The broker that tests share: a test that stops or kills it starts it again."""
    return infrastructure.broker()


@pytest.fixture(scope="session")
def cloud(infrastructure: Infrastructure) -> LocalCloud | GivenCloud:
    """The cloud that tests share."""
    return infrastructure.cloud()


@pytest.fixture
def postgres_url(infrastructure: Infrastructure) -> Iterator[str]:
    """An empty PostgreSQL database of this test's own, `postgresql+psycopg://…`."""
    with own_database(infrastructure.database().url) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file of this test's own, `sqlite+aiosqlite:///…`, not made yet."""
    return f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database; the test runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
