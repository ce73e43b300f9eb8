"""docker-compose.yml, played without an engine: real Kafka with its locks on, PostgreSQL, every process.

What it does not show is what only an engine does: images, users and volumes of containers.
"""

import base64
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deploy.local.kafka_jars import find_java
from deploy.local.redis import find_redis
from tests.deploy.composition import read
from tests.deploy.rehearsal import Rehearsal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(find_java() is None, reason="there is no Java for Apache Kafka"),
]
SERVICES = ("gateway", "provisioner", "sync", "audit")
KEY = read({}).stanzas["gateway"].environment["HOSTLER_FIRST_API_KEY"]
REFUSED = re.compile(
    r"authoriz\w* ?(?:failed|error)|not authorized|is denied|AuthorizationFailed", re.IGNORECASE
)
PATIENCE = 60.0


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    with Rehearsal(tmp_path_factory.mktemp("composed")) as started:
        yield started


@pytest.fixture
def http(rehearsal: Rehearsal) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": KEY}
    with httpx.Client(base_url=rehearsal.url, headers=headers, timeout=60, trust_env=False) as made:
        yield made


def eventually(http: httpx.Client, path: str, *, shows: str) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE
    while shows not in (answer := http.get(path)).text:
        assert time.monotonic() < end, f"{path} never shows {shows}: {answer.text[:2000]}"
        time.sleep(0.2)
    return answer.json()


def test_a_vm_comes_to_its_outcome_and_nobody_asks_kafka_for_more_than_they_may(
    rehearsal: Rehearsal, http: httpx.Client
) -> None:
    eventually(http, "/v1/images", shows="tiny-raw")
    body = {"name": "web-1", "flavor": "m1.nano", "image": "tiny-raw", "networks": ["private"]}
    body["user_data"] = base64.b64encode(b"#cloud-config").decode()
    made = http.post("/v1/vms", json=body, headers={"Prefer": "wait=50"})
    assert made.json()["state"] == "succeeded", made.text
    vm_id = made.json()["vm_id"]
    deleted = http.delete(f"/v1/vms/{vm_id}", headers={"Prefer": "wait=50"})
    assert deleted.json()["state"] == "succeeded", deleted.text
    eventually(http, f"/v1/audit?vm_id={vm_id}&outcome=succeeded&order=desc", shows="vm.delete.v1")
    checks = eventually(http, "/readyz", shows='"canary":{"ok":true')["checks"]
    without = set[str]() if find_redis() else {"rates"}
    assert {name for name, check in checks.items() if not check["ok"]} == without
    assert checks["isolation"]["detail"].endswith("as hostler_gateway")
    said = {name: rehearsal.text(name) for name in (*SERVICES, "kafka")}
    found = {name: REFUSED.findall(text) for name, text in said.items()}
    assert found == {name: [] for name in said}, said


def test_the_read_model_is_told_anew_by_its_own_user(
    rehearsal: Rehearsal, http: httpx.Client
) -> None:
    assert not REFUSED.search(rehearsal.run("rebuild"))
    assert http.get("/v1/vms?state=deleted").json()["items"]


def test_all_that_prepares_can_be_run_again_beside_running_services(rehearsal: Rehearsal) -> None:
    assert "everything was there" in rehearsal.run("locks")
    assert "0 new, 0 taken away" in rehearsal.run("grants")
    assert "as they should be" in rehearsal.run("roles")
    assert rehearsal.run("topics") == ""
