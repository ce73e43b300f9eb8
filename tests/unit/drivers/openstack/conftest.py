"""A cloud that is not there: what is sent to it comes to what the test says."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from drivers.openstack import errors
from drivers.openstack.calls import Answer, Call
from drivers.openstack.connection import Connection
from tests.unit.drivers.openstack.answers import answer


class Sending:
    """What the connection comes to, call by call; the last for ever."""

    def __init__(self) -> None:
        self.results: list[Answer | Exception] = [answer(200, {})]
        self.calls: list[Call] = []

    def __call__(self, _: Connection, call: Call) -> Answer:
        self.calls.append(call)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            ending = errors.failure(result, sent=True, changes=call.changes)
            raise ending or result from result
        return result


@pytest.fixture
def sending() -> Iterator[Sending]:
    made = Sending()
    with patch.object(Connection, "send", autospec=True, side_effect=made):
        yield made
