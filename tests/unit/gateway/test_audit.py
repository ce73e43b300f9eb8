"""The audit trail is asked for on the caller's behalf, and missed politely."""

import httpx
import pytest
from pydantic import SecretStr

from chassis.identity import Vouching
from chassis.testing import VirtualClock
from services.gateway.app import build
from services.gateway.context import Gateway
from tests.unit.gateway.world import Clients


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def answering(gateway: Gateway, answer: httpx.Response | Exception) -> list[httpx.Request]:
    """Put an audit in place that answers so; the requests that it gets."""
    asked: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    gateway.audit.transport = httpx.MockTransport(reply)
    return asked


async def test_audit_learns_who_asks_and_for_what(
    gateway: Gateway, clients: Clients, clock: VirtualClock
) -> None:
    asked = answering(gateway, httpx.Response(200, json={"items": [1]}))
    answer = await clients.viewer.get("/v1/audit?type=vm.*&limit=2")
    assert answer.json() == {"items": [1]}
    [request] = asked
    assert request.url.query == b"type=vm.*&limit=2"
    token = request.headers["Authorization"].removeprefix("Bearer ")
    caller = Vouching(SecretStr("s" * 32)).check(token, "audit", clock())
    assert (caller.actor, caller.project_id) == ("key:viewer", "demo")
    assert request.headers["X-Openstack-Request-Id"] == answer.headers["X-Openstack-Request-Id"]


@pytest.mark.parametrize(
    "trouble", [httpx.ConnectError("refused"), httpx.Response(500), httpx.Response(401)]
)
async def test_audit_that_gives_no_answer_is_a_503(
    gateway: Gateway, clients: Clients, trouble: httpx.Response | Exception
) -> None:
    answering(gateway, trouble)
    answer = await clients.admin.get("/v1/audit/verify")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


async def test_a_question_that_audit_would_refuse_does_not_reach_it(
    gateway: Gateway, clients: Clients
) -> None:
    asked = answering(gateway, httpx.Response(200, json={}))
    for query in (
        *("limit=0", "who=me", "since=yesterday", "type=%27", "permission=%27", "target="),
        *("outcome=maybe", "format=cadf", "address=", "credential=" + "x" * 256, "request_id="),
    ):
        assert (await clients.viewer.get(f"/v1/audit?{query}")).status_code == 400
    assert asked == []


async def test_every_filter_of_the_trail_and_its_export_reaches_audit(
    gateway: Gateway, clients: Clients
) -> None:
    asked = answering(gateway, httpx.Response(200, json={"items": []}))
    queries = (
        "outcome=refused&order=desc&limit=3",
        "permission=vm.*&address=127.0.0.1&outcome=intended",
        "target=01993b1c-58a5-7c58-8a52-000000000001&credential=key%3Ax&request_id=req-1",
        "format=ocsf",
    )
    for query in queries:
        assert (await clients.viewer.get(f"/v1/audit?{query}")).status_code == 200
    assert (await clients.viewer.get("/v1/audit/export?format=ocsf")).status_code == 200
    assert [each.url.query.decode() for each in asked] == [*queries, "format=ocsf"]


def test_without_a_secret_it_does_not_start() -> None:
    with pytest.raises(ValueError, match="HOSTLER_INTERNAL_SECRET"):
        build()
