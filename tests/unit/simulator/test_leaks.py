"""What servers leave behind where it is ordered, and what they never do otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulator.clock import HandClock
from simulator.snapshot import Snapshot
from simulator.world import World
from tests.unit.simulator.conftest import Caller

TAGS = ["mark:vm:1", "mark:project:p", "web"]


async def listed(caller: Caller, path: str) -> list[Mapping[str, Any]]:
    answer = await caller.http.get(path, headers=caller.headers)
    assert answer.status_code == 200, answer.text
    return next(iter(answer.json().values()))


async def ports(caller: Caller, server_id: str) -> list[Mapping[str, Any]]:
    return await listed(caller, f"/network/v2.0/ports?device_id={server_id}")


async def deleted(caller: Caller, clock: HandClock, **fields: object) -> str:
    """A server with TAGS that was built and deleted."""
    server_id = await caller.active(clock, tags=TAGS, **fields)
    await caller.call("DELETE", f"/servers/{server_id}")
    clock.turn(30)
    assert not await caller.show(server_id)
    return server_id


async def test_a_port_is_left_behind_once_as_ordered(demo: Caller, clock: HandClock) -> None:
    await demo.call("POST", "/control/leaks", {"kinds": ["port"]})
    first, second = await deleted(demo, clock), await deleted(demo, clock)
    (left,) = await ports(demo, first)
    assert (left["device_owner"], left["tags"]) == ("compute:nova", [])
    assert not await ports(demo, second)
    gone = await demo.http.delete(f"/network/v2.0/ports/{left['id']}", headers=demo.headers)
    assert gone.status_code == 204
    assert not await ports(demo, first)


async def test_a_volume_and_a_floating_ip_are_left_behind_with_the_servers_tags(
    demo: Caller, clock: HandClock
) -> None:
    await demo.call("POST", "/control/leaks", {"kinds": ["volume", "floating_ip"]})
    server_id = await deleted(demo, clock)
    (volume,) = await listed(demo, "/volume/v3/volumes/detail")
    (floating,) = await listed(demo, "/network/v2.0/floatingips")
    assert volume["metadata"] == {"mark:vm": "1", "mark:project": "p"}
    assert sorted(floating["tags"]) == sorted(TAGS)
    assert not await ports(demo, server_id)


async def test_only_servers_of_the_named_kind_leak_and_only_while_it_is_ordered(
    demo: Caller, clock: HandClock
) -> None:
    order = {"kinds": ["floating_ip"], "times": None, "name_regex": "^leaky"}
    await demo.call("POST", "/control/leaks", order)
    for name in ("leaky-1", "fine", "leaky-2"):
        await deleted(demo, clock, name=name)
    assert len(await listed(demo, "/network/v2.0/floatingips")) == 2
    await demo.call("DELETE", "/control/leaks")
    await deleted(demo, clock, name="leaky-3")
    assert len(await listed(demo, "/network/v2.0/floatingips")) == 2


async def test_what_was_left_behind_outlives_a_restart(
    demo: Caller, world: World, clock: HandClock, tmp_path: Path
) -> None:
    await demo.call("POST", "/control/leaks", {"kinds": ["port", "volume", "floating_ip"]})
    server_id = await deleted(demo, clock)
    snapshot = Snapshot(world, tmp_path / "state.json")
    snapshot.write(snapshot.encode())
    again = World(clock=clock)
    Snapshot(again, tmp_path / "state.json").load()
    assert [port.device_id for port in again.network.ports.values()] == [server_id]
    (floating,) = again.network.floating.values()
    assert again.network.tagged.ids(TAGS[0]) == [floating.id]
    assert len(again.volumes.volumes) == 1


async def test_a_floating_ip_shows_among_its_servers_addresses(
    demo: Caller, clock: HandClock
) -> None:
    server_id = await demo.active(clock)
    (port,) = await ports(demo, server_id)
    networks = await listed(demo, "/network/v2.0/networks?name=public")
    body = {"floatingip": {"floating_network_id": networks[0]["id"], "port_id": port["id"]}}
    url = "/network/v2.0/floatingips"
    made = (await demo.http.post(url, json=body, headers=demo.headers)).json()["floatingip"]

    async def kinds() -> list[str]:
        shown = (await demo.show(server_id))["addresses"]["private"]
        return [address["OS-EXT-IPS:type"] for address in shown]

    assert await kinds() == ["fixed", "floating"]
    await demo.http.delete(f"{url}/{made['id']}", headers=demo.headers)
    assert await kinds() == ["fixed"]
