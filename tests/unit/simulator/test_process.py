from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from simulator.clock import HandClock
from simulator.snapshot import Snapshot
from simulator.world import World
from tests.conformance.cloud import simulator
from tests.unit.simulator.conftest import Caller


def test_clouds_yaml_names_three_tenants_once_the_port_is_open(tmp_path: Path) -> None:
    with simulator(tmp_path) as (clouds, url):
        text = clouds.read_text()
        assert [line.strip(" :") for line in text.splitlines() if line.startswith("  s")] == [
            "simulator",
            "simulator-other",
            "simulator-admin",
        ]
        assert f"auth_url: {url}/identity/v3" in text
        assert httpx.get(f"{url}/identity/v3").status_code == 200


def test_every_answer_has_a_date(tmp_path: Path) -> None:
    with simulator(tmp_path) as (_, url):
        assert "date" in httpx.get(f"{url}/compute/").headers
    with simulator(tmp_path, "--no-date-header") as (_, url):
        assert "date" not in httpx.get(f"{url}/compute/").headers


def test_sigterm_ends_it_with_0_and_a_snapshot(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    command = [sys.executable, "-m", "simulator", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        url = process.stdout.readline().split()[3]
        httpx.post(f"{url}/control/servers", json={"count": 3}).raise_for_status()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    assert len(json.loads(state.read_text())["servers"]) == 3
    with simulator(tmp_path, "--state", str(state)) as (_, url):
        assert httpx.get(f"{url}/control/health").json()["servers"] == 3


async def test_a_snapshot_brings_back_servers_ports_tokens_and_what_was_under_way(
    demo: Caller, clock: HandClock, tmp_path: Path
) -> None:
    built = await demo.active(clock, tags=["t"])
    building = await demo.create()
    first = Snapshot(demo.world, tmp_path / "state.json")
    first.write(first.encode())
    assert not first.dirty

    again = World(clock=clock)
    assert Snapshot(again, tmp_path / "state.json").load() == 2
    clock.turn(5)
    again.advance()
    servers = again.compute.servers
    assert [s.vm_state for s in servers.live(None)] == ["active", "active"]
    assert {s.id for s in servers.live(None)} == {built, building}
    assert len(again.network.of_device(built)) == 1
    assert again.identity.valid(demo.headers["X-Auth-Token"], clock.now()) is not None
    assert servers.next_seq() == 3


async def test_a_snapshot_writes_only_what_changed(
    demo: Caller, clock: HandClock, tmp_path: Path
) -> None:
    server_id = await demo.active(clock)
    snapshot = Snapshot(demo.world, tmp_path / "state.json")
    snapshot.encode()
    await demo.show(server_id)
    assert not snapshot.dirty
    await demo.call("PUT", f"/servers/{server_id}/tags/new")
    assert snapshot.dirty
    assert json.loads(snapshot.encode())["servers"][0]["tags"] == ["new"]
    await demo.call("POST", f"/control/servers/{server_id}/vanish")
    assert json.loads(snapshot.encode())["servers"] == []


async def test_a_reset_is_in_the_next_snapshot(
    demo: Caller, clock: HandClock, tmp_path: Path
) -> None:
    await demo.active(clock)
    snapshot = Snapshot(demo.world, tmp_path / "state.json")
    snapshot.encode()
    demo.world.reset()
    assert json.loads(snapshot.encode())["servers"] == []


def test_a_seed_file_takes_the_place_of_the_defaults(tmp_path: Path) -> None:
    seed = tmp_path / "seed.json"
    flavor = {"id": "x", "name": "tiny", "vcpus": 1, "ram": 1, "disk": 0}
    seed.write_text(json.dumps({"flavors": [flavor]}))
    with simulator(tmp_path, "--seed-file", str(seed)) as (_, url):
        assert httpx.get(f"{url}/identity/v3").status_code == 200
