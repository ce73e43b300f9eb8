"""Two of every service at once: no work is done twice, and one goes on where the other was killed."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from deploy.local.stack import SERVICES, Stack
from tests.faults.chaos.kafka import read
from tests.faults.conftest import QUICK
from tests.faults.scene import Json, Scene

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two processes of each service."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OS_")}
    folder = tmp_path_factory.mktemp("pair")
    stack = Stack(folder, environment=kept | QUICK, replicas=dict.fromkeys(SERVICES, 2))
    stack.start()
    made = Scene(stack)
    try:
        made.until(made.has_catalog, "the catalog is there")
        yield made
    finally:
        made.close()
        stack.stop()


@pytest.fixture(autouse=True)
def calm(pair: Scene) -> None:
    """In place of the other stack's: each test begins with its own operations."""
    pair.operations.clear()


def created(pair: Scene, count: int, name: str) -> list[Json]:
    """Many creates at once."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(pair.create, [f"{name}-{number}" for number in range(count)]))


def orders(pair: Scene) -> int:
    """How often the cloud was asked for a server."""
    routes: list[Json] = pair.control.get("/calls", params={"service": "compute"}).json()[
        "by_route"
    ]
    return sum(
        r["count"] for r in routes if r["method"] == "POST" and r["path"].endswith("/servers")
    )


def test_two_provisioners_order_each_server_once(pair: Scene) -> None:
    pair.control.delete("/calls").raise_for_status()
    created(pair, 20, "once")
    pair.agree()
    assert orders(pair) == 20
    names = Counter(server["name"] for server in pair.servers())
    assert all(names[f"once-{number}"] == 1 for number in range(20))


def test_the_same_key_at_both_gateways_at_once_is_one_operation(pair: Scene) -> None:
    body = {"name": "twin", "flavor": "m1.nano", "image": "tiny-raw", "networks": ["private"]}
    headers = {"X-API-Key": pair.stack.api_key, "Idempotency-Key": "the-same-at-both"}

    def ask(url: str) -> httpx.Response:
        return httpx.post(f"{url}/v1/vms", json=body, headers=headers, timeout=30, trust_env=False)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, pair.stack.base_urls * 4))
    accepted = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert len(accepted) == 1
    assert {answer.status_code for answer in answers} <= {202, 409}
    pair.operations += accepted
    pair.agree()
    assert [server["name"] for server in pair.servers()].count("twin") == 1


@pytest.mark.parametrize("service", SERVICES)
def test_when_one_of_two_is_killed_for_good_the_other_one_does_all_the_work(
    pair: Scene, service: str
) -> None:
    """The second one holds every lease: it took them while the first was away. Then it is killed."""
    pair.stack.restart(service)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(created, pair, 8, f"after-{service}")
        time.sleep(0.5)
        pair.stack.kill(f"{service}.2")
        try:
            for operation in asking.result():
                assert pair.ended(operation)["state"] == "succeeded"
            pair.agree()
        finally:
            pair.stack.restart(f"{service}.2")


@pytest.mark.parametrize("service", ["gateway", "provisioner", "sync", "audit"])
def test_members_that_come_and_go_lose_and_double_nothing(pair: Scene, service: str) -> None:
    """Each stop and start has the group share its partitions out anew."""
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(created, pair, 10, f"rebalance-{service}")
        for _ in range(2):
            pair.stack.restart(f"{service}.2")
        for operation in asking.result():
            assert pair.ended(operation)["state"] == "succeeded"
    pair.agree()
    said = asyncio.run(read(pair.stack.kafka, "vm.events"))
    ends = Counter(
        (each.headers["ce_operationid"], each.type)
        for each in {each.id: each for each in said}.values()
        if each.type == "operation.succeeded.v1"
    )
    mine = set(pair.operations)
    assert {operation for operation, _ in ends} >= mine
    assert {times for (operation, _), times in ends.items() if operation in mine} == {1}
