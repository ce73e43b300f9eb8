from __future__ import annotations

import inspect
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from simulator.clock import HandClock
from simulator.control import control_app
from simulator.snapshot import Snapshot
from simulator.world import World
from tests.conformance.cloud import simulator
from tests.unit.simulator.conftest import Caller


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A simulator in its own process, with a seed of its own, behind a web server without dates."""
    folder = tmp_path_factory.mktemp("simulator")
    seed = folder / "seed.json"
    seed.write_text(json.dumps({"images": [{"name": "only-one"}]}))
    with simulator(folder, "--seed-file", str(seed), "--no-date-header") as found:
        yield found


def test_clouds_yaml_names_three_tenants_once_the_port_is_open(running: tuple[Path, str]) -> None:
    clouds, url = running
    text = clouds.read_text()
    assert [line.strip(" :") for line in text.splitlines() if line.startswith("  s")] == [
        "simulator",
        "simulator-other",
        "simulator-admin",
    ]
    assert f"auth_url: {url}/identity/v3" in text
    assert httpx.get(f"{url}/identity/v3").status_code == 200


def test_a_cloud_need_not_send_dates(running: tuple[Path, str]) -> None:
    assert "date" not in httpx.get(f"{running[1]}/compute/").headers


def test_a_drop_is_a_cut_connection(running: tuple[Path, str]) -> None:
    with httpx.Client(base_url=running[1]) as client:
        client.post("/control/faults", json={"effect": {"kind": "drop"}}).raise_for_status()
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/identity/v3")
        assert client.get("/identity/v3").status_code == 200


def test_a_seed_file_takes_the_place_of_what_it_names(running: tuple[Path, str]) -> None:
    with httpx.Client(base_url=running[1]) as client:
        user = {"name": "demo", "domain": {"id": "default"}, "password": "simulator"}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": "demo", "domain": {"id": "default"}}}
        login = {"auth": {"identity": identity, "scope": scope}}
        answer = client.post("/identity/v3/auth/tokens", json=login)
        headers = {"X-Auth-Token": answer.headers["X-Subject-Token"]}
        images = client.get("/image/v2/images", headers=headers).json()["images"]
        assert [image["name"] for image in images] == ["only-one"]
        assert len(client.get("/compute/v2.1/flavors", headers=headers).json()["flavors"]) == 6


def test_sigterm_ends_it_with_0_and_a_snapshot(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    command = [sys.executable, "-m", "simulator", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        url = process.stdout.readline().split()[3]
        httpx.post(f"{url}/control/servers", json={"count": 3}).raise_for_status()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert len(json.loads(state.read_text())["servers"]) == 3
    with simulator(tmp_path, "--state", str(state)) as (_, url):
        assert "date" in httpx.get(url).headers
        assert httpx.get(f"{url}/control/health").json()["servers"] == 3


def test_the_snapshot_follows_while_it_runs(tmp_path: Path) -> None:
    state = tmp_path / "state.json"

    def kept(count: int) -> bool:
        for _ in range(150):
            if state.exists() and len(json.loads(state.read_text())["servers"]) == count:
                return True
            time.sleep(0.1)
        return False

    with simulator(tmp_path, "--state", str(state)) as (_, url):
        for total in (20, 40, 60):
            httpx.post(f"{url}/control/servers", json={"count": 20}).raise_for_status()
            assert kept(total)


def test_control_never_runs_beside_the_cloud_in_a_thread(world: World) -> None:
    for route in control_app(world).routes:
        if isinstance(route, APIRoute):
            assert inspect.iscoroutinefunction(route.endpoint), route.path


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


async def test_what_a_snapshot_brought_back_can_vanish_whatever_changed_last(
    demo: Caller, clock: HandClock, tmp_path: Path
) -> None:
    first, second = [await demo.active(clock, tags=["t"]) for _ in range(2)]
    clock.turn(5)
    await demo.call("POST", f"/control/servers/{first}/set", {"name": "changed last"})
    snapshot = Snapshot(demo.world, tmp_path / "state.json")
    snapshot.write(snapshot.encode())

    again = World(clock=clock)
    Snapshot(again, tmp_path / "state.json").load()
    servers = again.compute.servers
    assert [server.id for server in servers.live(None)] == [first, second]
    gone = servers.find(first)
    assert gone is not None
    servers.vanish(gone)
    assert [server.id for server in servers.live(None)] == [second]
    assert [server.id for server in servers.tagged("t")] == [second]


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
