import os
from collections.abc import Iterator

import pytest

from deploy.local.broker import Kind, choose_broker
from deploy.local.stack import Stack
from tests.faults.scene import Scene

QUICK = {
    "HOSTLER_LEASE_TTL": "PT5S",
    "HOSTLER_SETTLE": "PT1S",
    "HOSTLER_BACKOFF_CAP": "PT3S",
    "HOSTLER_SWEEP_FULL_SECONDS": "10",
}


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One whole stack for all fault tests, on processes of its own: they get killed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OS_")}
    stack = Stack(tmp_path_factory.mktemp("stack"), environment=kept | QUICK)
    stack.start()
    made = Scene(stack)
    try:
        made.until(made.has_catalog, "the catalog is there")
        yield made
    finally:
        made.close()
        stack.stop()


@pytest.fixture(autouse=True)
def calm(scene: Scene) -> None:
    """No fault is left of an earlier test."""
    for kind in ("faults", "builds"):
        scene.control.delete(f"/{kind}").raise_for_status()
    scene.operations.clear()


@pytest.fixture
def lasting_broker() -> None:
    """Skip where the broker keeps nothing over its restart; in CI that is a failure."""
    if choose_broker().kind is not Kind.KAFKA:
        because = "only a local Apache Kafka can be stopped and keeps its log"
        if os.environ.get("CI"):
            pytest.fail(f"{because}: CI needs Java")
        pytest.skip(because)
