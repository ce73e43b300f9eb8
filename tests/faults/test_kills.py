"""Any service may be killed at any moment: everything that was accepted ends once."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.local.stack import SERVICES
from tests.faults.scene import Scene

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(400)]


def a_life(scene: Scene, number: int) -> None:
    """A VM is created, stopped and started; every second one is deleted. Nobody waits."""
    vm_id = scene.create(f"life-{number}")["vm_id"]
    for verb in ("stop", "start", "reboot"):
        scene.act(vm_id, verb)
    if number % 2:
        scene.delete(vm_id)


def all_succeeded(scene: Scene) -> None:
    """Each of the commands did what was asked, and cloud, read model and audit agree on it."""
    scene.agree()
    assert scene.operations
    assert {scene.operation(each)["state"] for each in scene.operations} == {"succeeded"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_killed_twice_in_mid_work_loses_nothing_and_doubles_nothing(
    scene: Scene, service: str
) -> None:
    moments = random.Random(service)
    with ThreadPoolExecutor(4) as pool:
        lives = [pool.submit(a_life, scene, number) for number in range(6)]
        for _ in range(2):
            time.sleep(moments.uniform(0.3, 2.0))
            scene.stack.kill(service)
            time.sleep(moments.uniform(0.1, 1.0))
            scene.stack.restart(service)
        for life in lives:
            life.result()
    all_succeeded(scene)


def test_all_services_killed_at_once_go_on_where_they_were(scene: Scene) -> None:
    with ThreadPoolExecutor(4) as pool:
        lives = [pool.submit(a_life, scene, number) for number in range(4)]
        time.sleep(1.5)
        for service in SERVICES:
            scene.stack.kill(service)
        for service in SERVICES:
            scene.stack.restart(service)
        for life in lives:
            life.result()
    all_succeeded(scene)


@pytest.mark.parametrize("service", SERVICES)
def test_sigterm_drains_within_ten_seconds_and_leaves_no_lease(scene: Scene, service: str) -> None:
    vm_id = scene.active()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(scene.http.get, "/v1/events", params={"vm_id": vm_id}, timeout=60)
        scene.act(vm_id, "reboot", {"hard": True})
        time.sleep(0.3)
        process = scene.stack.parts[service]
        began = time.monotonic()
        process.child.ask_to_stop()  # type: ignore[attr-defined]
        scene.until(lambda: not process.child.alive, "it ends by itself", 10)  # type: ignore[attr-defined]
        assert time.monotonic() - began < 10
        scene.stack.restart(service)
        if service == "gateway":
            assert waiting.result().status_code == 200, "the stream was ended, not cut"
        else:
            scene.stack.restart("gateway")
    scene.agree()
