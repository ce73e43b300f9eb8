from __future__ import annotations

import pytest

from simulator.clock import HandClock, zulu
from simulator.seed import named_id
from tests.unit.simulator.conftest import Caller


async def test_changes_since_costs_what_changed(demo: Caller, clock: HandClock) -> None:
    await demo.call("POST", "/control/servers", {"count": 200})
    clock.turn(60)
    changed = await demo.active(clock)
    since = clock.now() - 31
    assert [s.id for s in demo.world.compute.servers.changed_since(int(since))] == [changed]
    assert await demo.ids(f"changes-since={zulu(since)}") == [changed]


async def test_pages_meet_every_server_once_also_when_some_go_meanwhile(
    demo: Caller, clock: HandClock
) -> None:
    await demo.call("POST", "/control/servers", {"count": 25})
    seen = await demo.ids("limit=10")
    last = seen[-1]
    await demo.call("POST", f"/control/servers/{last}/delete")
    rest = await demo.ids(f"limit=10&marker={last}")
    seen += rest + await demo.ids(f"limit=10&marker={rest[-1]}")
    assert len(seen) == len(set(seen)) == 25


async def test_a_page_is_at_most_a_thousand(demo: Caller) -> None:
    await demo.call("POST", "/control/servers", {"count": 1001})
    answer = (await demo.call("GET", "/servers/detail?limit=5000")).json()
    assert len(answer["servers"]) == 1000
    assert answer["servers_links"][0]["href"].endswith(f"marker={answer['servers'][-1]['id']}")


async def test_an_unchanged_server_is_written_once_per_view(demo: Caller, clock: HandClock) -> None:
    server_id = await demo.active(clock, tags=["a"])
    first = (await demo.call("GET", "/servers/detail")).json()["servers"][0]
    assert "server_groups" not in first
    assert "server_groups" in await demo.show(server_id)
    await demo.call("PUT", f"/servers/{server_id}/tags/b")
    assert (await demo.call("GET", "/servers/detail")).json()["servers"][0]["tags"] == ["a", "b"]


async def test_operators_see_all_tenants_hosts_and_the_deleted(
    demo: Caller, admin: Caller, clock: HandClock
) -> None:
    server_id = await demo.active(clock)
    await demo.call("DELETE", f"/servers/{await demo.active(clock)}")
    clock.turn(5)
    assert await admin.ids() == []
    assert await admin.ids("all_tenants=1") == [server_id]
    assert len(await admin.ids("all_tenants=1&deleted=true")) == 1
    shown = await admin.show(server_id)
    assert shown["OS-EXT-SRV-ATTR:host"] in {"compute1", "compute2"}
    assert shown["host_status"] == "UP"
    reset = {"os-resetState": {"state": "error"}}
    assert (await admin.act(server_id, reset)).status_code == 202
    assert (await demo.show(server_id))["status"] == "ERROR"


async def test_another_tenant_has_no_part_in_it(
    demo: Caller, other: Caller, clock: HandClock
) -> None:
    server_id = await demo.active(clock)
    assert not await other.show(server_id)
    assert (await other.call("DELETE", f"/servers/{server_id}")).status_code == 404
    assert await other.ids() == []


async def test_several_at_once_are_numbered(demo: Caller) -> None:
    await demo.create(name="web", min_count=3)
    names = (await demo.call("GET", "/servers")).json()["servers"]
    assert [s["name"] for s in names] == ["web-3", "web-2", "web-1"]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b"\xff", b"[" * 5000, b'{"server": []}', b'{"server": {"name": 1e999}}']
)  # fmt: skip
async def test_a_body_that_makes_no_sense_is_400(demo: Caller, body: bytes) -> None:
    url = "/compute/v2.1/servers"
    answer = await demo.http.post(url, content=body, headers=demo.headers)
    assert answer.status_code == 400, answer.text


async def test_a_body_too_large_is_413(demo: Caller) -> None:
    answer = await demo.http.post(
        "/compute/v2.1/servers", content=b"x" * 120_000, headers=demo.headers
    )
    assert answer.status_code == 413


async def test_a_path_that_is_none_is_404_in_each_service(demo: Caller) -> None:
    for path in ("/compute/v2.1/nothing", "/network/v2.0/nothing", "/image/v2/nothing",
                 "/volume/v3/nothing", "/identity/v3/nothing", "/nothing"):  # fmt: skip
        assert (await demo.http.get(path, headers=demo.headers)).status_code == 404


async def test_tags_find_what_carries_them_now_and_nothing_that_did(
    demo: Caller, clock: HandClock
) -> None:
    first, second = await demo.active(clock, tags=["a", "b"]), await demo.active(clock, tags=["a"])
    third = await demo.active(clock)
    assert await demo.ids("tags=a") == [second, first]
    assert await demo.ids("tags=a&sort_key=created_at&sort_dir=asc") == [first, second]
    assert await demo.ids("tags=b,a") == [first]
    await demo.call("PUT", f"/servers/{third}/tags", {"tags": ["a"]})
    await demo.call("DELETE", f"/servers/{second}/tags/a")
    assert await demo.ids("tags=a") == [third, first]
    assert await demo.ids(f"tags=a&limit=1&marker={third}") == [first]
    await demo.call("DELETE", f"/servers/{first}")
    clock.turn(30)
    await demo.call("POST", f"/control/servers/{third}/vanish")
    assert await demo.ids("tags=a") == []


async def test_what_a_project_uses_is_counted_until_it_is_deleted(
    demo: Caller, other: Caller, clock: HandClock
) -> None:
    network = {"networks": [{"uuid": named_id("network", "other-net")}]}
    gone, vanished = await other.active(clock, **network), await other.active(clock, **network)
    await demo.active(clock)

    async def used() -> int:
        limits = (await other.call("GET", "/limits")).json()["limits"]["absolute"]
        assert limits["totalRAMUsed"] == 64 * limits["totalInstancesUsed"]
        return int(limits["totalCoresUsed"])

    assert await used() == 2
    await other.call("DELETE", f"/servers/{gone}")
    clock.turn(30)
    assert await used() == 1
    await other.call("POST", f"/control/servers/{vanished}/vanish")
    assert await used() == 0
