"""What the cloud does by itself, or fails to do, is told as it is."""

import base64
import json
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.faults.scene import Scene

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(200)]
NO_HOST = "No valid host was found."


@pytest.mark.parametrize("policy", ["keep", "delete"])
def test_a_build_that_fails_says_why_in_novas_words(scene: Scene, policy: str) -> None:
    scene.control.post("/builds", json={"outcome": "error", "times": 1}).raise_for_status()
    done = scene.ended(scene.create(f"broken-{policy}", on_failure=policy))
    assert done["state"] == "failed"
    assert done["error"]["code"] == "cloud_fault"
    assert NO_HOST in done["error"]["detail"]
    held = [s["name"] for s in scene.servers() if s["name"] == f"broken-{policy}"]
    assert len(held) == (1 if policy == "keep" else 0)
    state = "error" if policy == "keep" else "deleted"
    scene.until(lambda: scene.vm(done["vm_id"])["state"] == state, f"the VM is {state}", 15)
    if policy == "keep":
        assert NO_HOST in scene.vm(done["vm_id"])["fault"]["message"]
        assert scene.ended(scene.delete(done["vm_id"]))["state"] == "succeeded"
    scene.agree()


@pytest.mark.parametrize(
    ("change", "field", "old", "new"),
    [
        ({"status": "SHUTOFF"}, "state", "active", "stopped"),
        ({"name": "renamed-outside"}, "name", None, "renamed-outside"),
    ],
)
def test_a_change_made_in_the_cloud_is_an_external_event(
    scene: Scene, change: dict[str, str], field: str, old: str | None, new: str
) -> None:
    vm_id = scene.active()
    server_id = scene.vm(vm_id)["server_id"]
    scene.control.post(f"/servers/{server_id}/set", json=change).raise_for_status()
    scene.until(lambda: scene.vm(vm_id)[field] == new, "it is seen", 10)
    event = external(scene, vm_id)
    assert event["new"][field] == new
    assert old is None or event["old"][field] == old


def test_a_server_deleted_in_the_cloud_is_deleted_and_one_that_vanishes_is_missing(
    scene: Scene,
) -> None:
    deleted, vanished = scene.active(), scene.active()
    for vm_id, how in ((deleted, "delete"), (vanished, "vanish")):
        scene.control.post(f"/servers/{scene.vm(vm_id)['server_id']}/{how}").raise_for_status()
    scene.until(lambda: scene.vm(deleted)["state"] == "deleted", "it is deleted", 10)
    scene.until(lambda: scene.vm(vanished)["state"] == "missing", "it is missing", 30)
    assert external(scene, deleted)["new"]["state"] == "deleted"
    assert external(scene, vanished)["new"]["state"] == "missing"


def test_a_list_that_fails_makes_nothing_missing(scene: Scene) -> None:
    vm_id = scene.active()
    match = {"service": "compute", "method": "GET", "path_regex": "/servers/detail"}
    scene.order(match=match, effect={"kind": "status", "status": 500}, times=5)
    scene.until(lambda: met(scene) >= 3, "sweeps fail", 30)
    assert scene.vm(vm_id)["state"] == "active"
    scene.control.delete("/faults")
    assert scene.ended(scene.act(vm_id, "stop"))["state"] == "succeeded"


async def test_poison_becomes_a_dead_letter_and_what_is_behind_it_goes_on(scene: Scene) -> None:
    vm_id = scene.active()
    address = str(scene.stack.parts["broker"].bootstrap_servers)  # type: ignore[attr-defined]
    producer: Any = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    await producer.send_and_wait("vm.commands", b"\xff{", key=vm_id.encode())
    await producer.stop()
    assert scene.ended(scene.act(vm_id, "stop"))["state"] == "succeeded"
    scene.agree()
    letters = [letter for letter in await dead_letters(address) if letter["key"] == vm_id]
    reasons = {letter["consumer"]: letter["reason"] for letter in letters}
    assert reasons.keys() == {"hostler.provisioner", "hostler.audit"}
    assert "not JSON" in reasons["hostler.audit"]
    assert "not signed" in reasons["hostler.provisioner"]


async def test_a_systems_own_consumer_sees_one_vms_life_in_order(scene: Scene) -> None:
    vm_id = scene.active()
    for verb in ("stop", "start"):
        scene.ended(scene.act(vm_id, verb))
    scene.ended(scene.delete(vm_id))
    rows: list[dict[str, Any]] = []

    def whole() -> bool:
        rows[:] = scene.http.get(f"/v1/audit?vm_id={vm_id}&type=vm.*&limit=1000").json()["items"]
        return any(row["type"] == "vm.deleted.v1" for row in rows)

    scene.until(whole, "the VM's end is in the audit", 15)
    happened = [
        row["type"] for row in rows if not row["type"].endswith(("changed.v1", "observed.v1"))
    ]
    asked = [f"vm.{verb}.v1" for verb in ("create", "stop", "start", "delete")]
    done = [f"vm.{verb}.v1" for verb in ("created", "stopped", "started", "deleted")]
    assert [t for t in happened if t in done] == done
    assert {t for t in happened if t in asked} == set(asked)
    versions = [row["data"]["version"] for row in rows if row["type"] == "vm.changed.v1"]
    assert versions == list(range(1, len(versions) + 1))


def test_user_data_is_in_no_event_and_no_audit_row(scene: Scene) -> None:
    secret = base64.b64encode(b"#cloud-config password: t0psecret").decode()
    done = scene.ended(scene.create(user_data=secret))
    rows = scene.http.get(f"/v1/audit?operation_id={done['id']}&limit=1000").json()
    assert secret not in json.dumps(rows)
    assert rows["items"]


def met(scene: Scene) -> int:
    """How many calls the faults that are ordered have met."""
    return sum(fault["done"] for fault in scene.control.get("/faults").json())


async def dead_letters(address: str) -> list[dict[str, Any]]:
    """Everything on the topic, as any consumer reads it."""
    reader: Any = AIOKafkaConsumer(
        "dead.letters", bootstrap_servers=address, auto_offset_reset="earliest"
    )
    await reader.start()
    batches = await reader.getmany(timeout_ms=5000)
    await reader.stop()
    return [json.loads(record.value) for batch in batches.values() for record in batch]


def external(scene: Scene, vm_id: str) -> dict[str, dict[str, object]]:
    """The data of the latest external change of a VM."""
    found: list[dict[str, dict[str, object]]] = []

    def heard() -> bool:
        rows = scene.http.get(f"/v1/audit?vm_id={vm_id}&type=vm.changed.v1&limit=1000").json()
        found[:] = [r["data"] for r in rows["items"] if r["data"]["origin"] == "external"]
        return bool(found)

    scene.until(heard, "the external change is in the audit", 15)
    return found[-1]


def test_a_create_costs_the_cloud_one_request_and_the_sweeps_that_all_vms_share(
    scene: Scene,
) -> None:
    scene.control.delete("/calls").raise_for_status()
    operations = [scene.create(f"counted-{number}") for number in range(10)]
    for operation in operations:
        assert scene.ended(operation)["state"] == "succeeded"
    routes = scene.control.get("/calls", params={"service": "compute"}).json()["by_route"]
    counts = {(each["method"], each["path"]): each["count"] for each in routes}
    asked = {route: n for route, n in counts.items() if not route[1].endswith("/servers/detail")}
    orders = [n for (method, path), n in asked.items() if method == "POST" and "/servers" in path]
    assert orders == [10], counts
    assert [route for route in asked if "/servers/{" in route[1]] == [], "no VM is asked for alone"
