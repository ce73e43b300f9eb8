"""Each module has a broker of its own: services read a topic from its beginning."""

from collections.abc import Iterator

import pytest

from deploy.local.broker import Broker
from tests.infra.plan import Infrastructure


@pytest.fixture(scope="module")
def kafka(infrastructure: Infrastructure, request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker with nothing on it; a test that stops or kills it starts it again."""
    broker = infrastructure.new_broker(f"{request.path.parent.name}-{request.path.stem}")
    broker.start()
    yield broker
    broker.stop()
