"""Kafka, Postgres or the cloud may be gone for a while: nothing accepted is lost."""

import time

import httpx
import pytest

from tests.faults.scene import Scene

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(400)]
OUTAGE_SECONDS = 30


@pytest.mark.usefixtures("lasting_broker")
def test_while_kafka_is_gone_the_gateway_accepts_and_all_of_it_arrives_in_order(
    scene: Scene,
) -> None:
    vm_id = scene.active()
    scene.stack.kill("broker")
    began = time.monotonic()
    asked = [scene.act(vm_id, verb) for verb in ("stop", "start", "stop", "start", "stop")]
    created = scene.create()
    ready = scene.http.get("/readyz").json()
    assert not ready["checks"]["kafka"]["ok"], "what is gone is shown"
    time.sleep(max(0.0, OUTAGE_SECONDS - (time.monotonic() - began)))
    scene.stack.restart("broker")
    ends = [scene.ended(operation) for operation in asked]
    assert [end["state"] for end in ends] == ["succeeded"] * 5
    times = [end["ended_at"] for end in ends]
    assert times == sorted(times)
    assert scene.vm(vm_id)["state"] == "stopped"
    assert scene.ended(created)["state"] == "succeeded"
    scene.agree()


def test_while_postgres_is_gone_a_request_gets_503_and_nothing_is_half_done(scene: Scene) -> None:
    vm_id = scene.active()
    scene.stack.kill("postgres")
    try:
        answer = scene.http.post(f"/v1/vms/{vm_id}/stop", headers={"Idempotency-Key": "half-done"})
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["code"] == "unavailable"
        time.sleep(3)
    finally:
        scene.stack.restart("postgres")
    scene.until(lambda: scene.http.get("/readyz").status_code == 200, "the gateway is back")
    before = scene.http.get("/v1/operations", params={"vm_id": vm_id}).json()["items"]
    assert [operation["command"] for operation in before] == ["vm.create.v1"]
    done = scene.ended(scene.ask("POST", f"/v1/vms/{vm_id}/stop", key="half-done"))
    assert done["state"] == "succeeded"
    scene.agree()


def test_while_the_cloud_is_gone_operations_wait_and_then_go_through(scene: Scene) -> None:
    vm_id = scene.active()
    scene.stack.kill("cloud")
    try:
        stopping, creating = scene.act(vm_id, "stop"), scene.create()
        scene.until(
            lambda: scene.operation(stopping["id"])["error"] is not None, "it says why it waits", 60
        )
        assert scene.operation(stopping["id"])["error"]["code"] == "cloud_unavailable"
        assert scene.vm(vm_id)["state"] == "active", "what cannot be seen has not changed"
    finally:
        scene.stack.restart("cloud")
    assert scene.ended(stopping)["state"] == "succeeded"
    assert scene.ended(creating)["state"] == "succeeded"
    scene.agree()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_create_whose_answer_is_lost_makes_one_server(scene: Scene, when: str) -> None:
    match = {"service": "compute", "method": "POST", "path_regex": "/servers$"}
    scene.order(match=match, effect={"kind": "drop", "when": when}, times=1)
    done = scene.ended(scene.create(f"lost-{when}"))
    assert done["state"] == "succeeded"
    assert [server["name"] for server in scene.servers()].count(f"lost-{when}") == 1
    scene.agree()


def test_a_busy_cloud_is_asked_again_when_it_says(scene: Scene) -> None:
    match = {"service": "compute", "method": "POST", "path_regex": "/servers$"}
    scene.order(match=match, effect={"kind": "status", "status": 429, "retry_after": 1}, times=2)
    scene.order(match=match, effect={"kind": "status", "status": 503}, times=1)
    done = scene.ended(scene.create())
    assert done["state"] == "succeeded"
    assert done["attempts"] >= 3
    scene.agree()


def test_tokens_that_expire_are_renewed(scene: Scene) -> None:
    vm_id = scene.active()
    scene.control.post("/tokens/expire", json={}).raise_for_status()
    assert scene.ended(scene.act(vm_id, "stop"))["state"] == "succeeded"


def test_the_gateway_is_unavailable_not_broken_without_audit(scene: Scene) -> None:
    scene.stack.kill("audit")
    try:
        answer = scene.http.get("/v1/audit")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert isinstance(answer, httpx.Response)
    finally:
        scene.stack.restart("audit")
