"""What an account offers, where one of its services fails."""

import pytest

from chassis.errors import Retry
from contracts.catalog.events import KeyPair, Network
from contracts.errors import ErrorCode
from drivers.openstack.driver import OpenStackDriver
from drivers.openstack.settings import OpenStackSettings
from tests.unit.drivers.openstack.answers import answer
from tests.unit.drivers.openstack.conftest import Sending


async def test_a_list_that_fails_hides_no_other_and_is_told_at_the_end(sending: Sending) -> None:
    sending.results = [
        answer(200, {"flavors": []}),
        Retry(ErrorCode.CLOUD_UNAVAILABLE, "Glance is gone"),
        answer(200, {"networks": [{"id": "n1", "name": "private"}]}),
        answer(200, {"keypairs": [{"keypair": {"name": "laptop"}}]}),
    ]
    found: list[object] = []
    with pytest.raises(Retry, match="Glance is gone"):
        async for item in OpenStackDriver("demo", OpenStackSettings()).catalog():
            found.append(type(item))  # noqa: PERF401 - what came before the failure counts
    assert found == [Network, KeyPair]
