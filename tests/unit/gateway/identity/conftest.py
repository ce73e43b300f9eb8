"""A gateway whose passwords are hashed as cheaply as is allowed, and a box for its mail."""

import pytest

from services.gateway.context import Gateway
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.world import CHEAP, Postbox, postbox


@pytest.fixture
async def gateway(new_gateway: NewGateway) -> Gateway:
    return await new_gateway(password_memory=CHEAP)


@pytest.fixture
def box(gateway: Gateway) -> Postbox:
    return postbox(gateway)
