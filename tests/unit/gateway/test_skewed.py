"""Gateways accept by one clock, whatever their own say: deadlines count from it elsewhere."""

from datetime import datetime, timedelta

import pytest

from chassis.testing import VirtualClock
from contracts.message import utc_now
from services.gateway.context import Gateway
from tests.unit.gateway.world import Clients, commanded, create

DAY = timedelta(days=1)


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """Where replicas share a clock."""
    return postgres_url


@pytest.fixture(params=[DAY, -DAY])
def clock(request: pytest.FixtureRequest) -> VirtualClock:
    """The wall clock of a machine that is a day off."""
    skew: timedelta = request.param
    return VirtualClock(utc_now() + skew)


async def test_a_command_that_a_gateway_with_a_wrong_clock_accepts_has_its_whole_deadline(
    gateway: Gateway, clients: Clients
) -> None:
    await gateway.service.shared_clock.read()
    operation = await create(clients.operator)
    [message] = await commanded(gateway)
    assert abs(message.time - utc_now()) < timedelta(hours=1)
    assert datetime.fromisoformat(operation["created_at"]) == message.time
    assert operation["stuck"] is None
