from __future__ import annotations

from collections.abc import Mapping

import pytest

from simulator.clock import HandClock, zulu
from tests.unit.simulator.conftest import Caller


async def states(demo: Caller, clock: HandClock, server_id: str, until: float) -> list[str]:
    """Every status/task seen when looking each hundredth of a second."""
    seen: list[str] = []
    for _ in range(int(until * 100)):
        server = await demo.show(server_id)
        state = f"{server['status']}/{server['OS-EXT-STS:task_state']}" if server else "gone"
        if not seen or seen[-1] != state:
            seen.append(state)
        clock.turn(0.01)
    return seen


async def test_a_build_goes_through_novas_tasks(demo: Caller, clock: HandClock) -> None:
    server_id = await demo.create()
    assert await states(demo, clock, server_id, 1.2) == [
        "BUILD/scheduling",
        "BUILD/None",
        "BUILD/networking",
        "BUILD/spawning",
        "ACTIVE/None",
    ]


@pytest.mark.parametrize(
    ("first", "action", "expected"),
    [
        ([], {"os-stop": None}, ["ACTIVE/powering-off", "SHUTOFF/None"]),
        (["os-stop"], {"os-start": None}, ["SHUTOFF/powering-on", "ACTIVE/None"]),
        (
            [],
            {"reboot": {"type": "SOFT"}},
            ["REBOOT/rebooting", "REBOOT/reboot_pending", "REBOOT/reboot_started", "ACTIVE/None"],
        ),
        (
            ["os-stop"],
            {"reboot": {"type": "HARD"}},
            [
                "SHUTOFF/rebooting_hard",
                "SHUTOFF/reboot_pending_hard",
                "SHUTOFF/reboot_started_hard",
                "ACTIVE/None",
            ],
        ),
        ([], {"pause": None}, ["ACTIVE/pausing", "PAUSED/None"]),
        (["pause"], {"unpause": None}, ["PAUSED/unpausing", "ACTIVE/None"]),
        ([], {"suspend": None}, ["ACTIVE/suspending", "SUSPENDED/None"]),
        (["suspend"], {"resume": None}, ["SUSPENDED/resuming", "ACTIVE/None"]),
    ],
)
async def test_an_action_goes_through_its_states(
    demo: Caller,
    clock: HandClock,
    first: list[str],
    action: Mapping[str, object],
    expected: list[str],
) -> None:
    server_id = await demo.active(clock)
    for name in first:
        await demo.act(server_id, {name: None})
        clock.turn(5)
    assert (await demo.act(server_id, action)).status_code == 202
    assert await states(demo, clock, server_id, 0.5) == expected


@pytest.mark.parametrize(
    ("first", "action", "state"),
    [
        ([], "os-start", "active"),
        (["os-stop"], "os-stop", "stopped"),
        (["os-stop"], "pause", "stopped"),
        (["pause"], "suspend", "paused"),
        (["suspend"], "unpause", "suspended"),
        ([], "resume", "active"),
    ],
)
async def test_an_action_in_the_wrong_state_is_409(
    demo: Caller, clock: HandClock, first: list[str], action: str, state: str
) -> None:
    server_id = await demo.active(clock)
    for name in first:
        await demo.act(server_id, {name: None})
        clock.turn(5)
    answer = await demo.act(server_id, {action: None})
    assert answer.status_code == 409
    verb = action.removeprefix("os-")
    words = f"Cannot '{verb}' instance {server_id} while it is in vm_state {state}"
    assert answer.json()["conflictingRequest"]["message"] == words


async def test_time_passes_unseen_with_the_times_at_which_things_were_due(
    demo: Caller, clock: HandClock
) -> None:
    server_id = await demo.create()
    began = clock.now()
    clock.turn(600)
    server = await demo.show(server_id)
    assert server["status"] == "ACTIVE"
    assert server["updated"] == zulu(began + 1)


async def test_a_deletion_ends_in_404_and_stays_in_changes_since(
    demo: Caller, clock: HandClock
) -> None:
    server_id = await demo.active(clock, tags=["t"])
    assert (await demo.call("DELETE", f"/servers/{server_id}")).status_code == 204
    assert await states(demo, clock, server_id, 0.5) == ["ACTIVE/deleting", "gone"]
    assert await demo.ids() == []
    assert await demo.ids(f"changes-since={zulu(clock.now() - 60)}") == [server_id]


async def test_a_server_deleted_while_it_spawns_is_made_first(
    demo: Caller, clock: HandClock
) -> None:
    server_id = await demo.create()
    clock.turn(0.6)
    await demo.call("DELETE", f"/servers/{server_id}")
    assert await states(demo, clock, server_id, 1) == ["BUILD/deleting", "ACTIVE/None", "gone"]


async def test_a_server_no_host_has_yet_is_deleted_at_once(demo: Caller, clock: HandClock) -> None:
    server_id = await demo.create()
    await demo.call("DELETE", f"/servers/{server_id}")
    assert not await demo.show(server_id)


async def test_metadata_knobs_delay_and_fail_as_the_fake_hypervisor_does(
    demo: Caller, clock: HandClock
) -> None:
    slow = await demo.create(metadata={"fake:delay:spawn": "60"})
    broken = await demo.create(metadata={"fake:fail": "spawn"})
    clock.turn(10)
    assert (await demo.show(slow))["OS-EXT-STS:task_state"] == "spawning"
    fault = (await demo.show(broken))["fault"]
    assert fault["message"].startswith("Exceeded maximum number of retries.")
    stubborn = await demo.active(clock, metadata={"fake:fail": "power_off"})
    await demo.act(stubborn, {"os-stop": None})
    clock.turn(10)
    assert (await demo.show(stubborn))["status"] == "ACTIVE"
    actions = await demo.call("GET", f"/servers/{stubborn}/os-instance-actions")
    assert actions.json()["instanceActions"][0]["message"] == "Error"


async def test_an_idle_cloud_has_nothing_to_do(demo: Caller, clock: HandClock) -> None:
    await demo.call("POST", "/control/servers", {"count": 500})
    assert len(demo.world.compute.servers.live(None)) == 500
    assert demo.world.compute.servers.pending == 0


async def test_ports_come_with_the_host_and_go_with_the_server(
    demo: Caller, clock: HandClock
) -> None:
    server_id = await demo.active(clock)
    (port,) = demo.world.network.of_device(server_id)
    assert (await demo.show(server_id))["addresses"]["private"][0]["addr"] == port.address
    await demo.call("DELETE", f"/servers/{server_id}")
    clock.turn(5)
    await demo.ids()
    assert demo.world.network.ports == {}
