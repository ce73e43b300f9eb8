from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
import pytest

from simulator.app import ConnectionDropped
from simulator.clock import HandClock
from tests.unit.simulator.conftest import Caller

CREATE = {"service": "compute", "method": "POST", "path_regex": "/servers$"}


async def order(demo: Caller, effect: Mapping[str, object], **more: object) -> str:
    answer = await demo.call("POST", "/control/faults", {"effect": effect, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def create(demo: Caller) -> httpx.Response:
    body = {"server": {"name": "x", "flavorRef": "1", "imageRef": "", "networks": "none"}}
    return await demo.call("POST", "/servers", body)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_status_before_means_that_nothing_happened(demo: Caller, status: int) -> None:
    effect = {"kind": "status", "status": status, "retry_after": 7}
    await order(demo, effect, match={"method": "POST"})
    answer = await create(demo)
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "7")
    assert await demo.ids() == []


async def test_a_429_need_not_say_when(demo: Caller) -> None:
    await order(demo, {"kind": "status", "status": 429})
    answer = await demo.call("GET", "/servers")
    assert answer.status_code == 429
    assert "Retry-After" not in answer.headers
    assert answer.json()["overLimit"]["code"] == 429


async def test_a_status_after_means_that_it_happened_and_was_not_told(demo: Caller) -> None:
    await order(demo, {"kind": "status", "status": 500, "when": "after"}, match=CREATE)
    with pytest.raises(AssertionError, match="500"):
        await demo.create()
    assert len(await demo.ids()) == 1


async def test_a_wrong_body_takes_the_place_of_the_right_one(demo: Caller) -> None:
    effect = {"kind": "status", "status": 502, "body": "<html>bad gateway</html>"}
    await order(demo, effect)
    answer = await demo.call("GET", "/servers")
    assert (answer.status_code, answer.text) == (502, "<html>bad gateway</html>")


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
async def test_a_dropped_connection_has_its_effect_or_not(
    demo: Caller, when: str, made: int
) -> None:
    await order(demo, {"kind": "drop", "when": when}, match=CREATE)
    with pytest.raises(ConnectionDropped):
        await demo.create()
    assert len(await demo.ids()) == made


async def test_latency_before_delays_the_effect_and_after_only_the_answer(demo: Caller) -> None:
    for when, made in (("before", 0), ("after", 1)):
        await order(demo, {"kind": "latency", "seconds": 30, "when": when}, match=CREATE)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(demo.create(), 0.1)
        assert len(await demo.ids()) == made


async def test_a_fault_meets_only_what_it_matches_and_only_so_often(demo: Caller) -> None:
    effect = {"kind": "status", "status": 503}
    await order(demo, effect, match={"service": "compute", "path_regex": "flavors"}, times=2)
    codes = [(await demo.call("GET", "/flavors")).status_code for _ in range(3)]
    assert codes == [503, 503, 200]
    assert (await demo.call("GET", "/servers")).status_code == 200


async def test_every_kth_call_after_the_first_few_is_met(demo: Caller) -> None:
    effect = {"kind": "status", "status": 503}
    await order(demo, effect, times=None, every=2, after_calls=1)
    codes = [(await demo.call("GET", "/servers")).status_code for _ in range(6)]
    assert codes == [200, 200, 503, 200, 503, 200]


async def test_chance_is_the_same_with_the_same_seed(demo: Caller) -> None:
    async def rolls() -> list[int]:
        effect = {"kind": "status", "status": 503}
        fault = await order(demo, effect, times=None, probability=0.5, seed=7)
        codes = [(await demo.call("GET", "/servers")).status_code for _ in range(20)]
        assert (await demo.call("DELETE", f"/control/faults/{fault}")).status_code == 204
        return codes

    first = await rolls()
    assert set(first) == {200, 503}
    assert await rolls() == first


async def test_faults_are_told_and_forgotten(demo: Caller) -> None:
    await order(demo, {"kind": "status"}, times=3)
    await demo.call("GET", "/servers")
    (fault,) = (await demo.call("GET", "/control/faults")).json()
    assert (fault["seen"], fault["done"], fault["times"]) == (1, 1, 3)
    await demo.call("DELETE", "/control/faults")
    assert (await demo.call("GET", "/control/faults")).json() == []


@pytest.mark.parametrize(
    ("rule", "status", "words"),
    [
        ({"outcome": "error"}, "ERROR", "No valid host was found."),
        ({"outcome": "error", "reason": "retries"}, "ERROR", "Exceeded maximum number of retries."),
        ({"outcome": "error", "fault_message": "Disk on fire"}, "ERROR", "Disk on fire"),
        ({"outcome": "hang"}, "BUILD", None),
        ({"outcome": "slow", "seconds": 100}, "BUILD", None),
    ],
)
async def test_a_build_ends_as_ordered_and_the_next_ends_well(
    demo: Caller, clock: HandClock, rule: Mapping[str, object], status: str, words: str | None
) -> None:
    await demo.call("POST", "/control/builds", {**rule, "name_regex": "^bad"})
    good, bad, next_one = [await demo.create(name=n) for n in ("good", "bad", "bad-again")]
    clock.turn(60)
    assert [(await demo.show(i))["status"] for i in (good, bad, next_one)] == [
        "ACTIVE",
        status,
        "ACTIVE",
    ]
    fault = (await demo.show(bad)).get("fault", {})
    if words is None:
        assert fault == {}
    else:
        assert fault["code"] == 500
        assert fault["message"].startswith(words)


async def test_a_server_that_vanishes_leaves_no_trace(demo: Caller, clock: HandClock) -> None:
    server_id = await demo.active(clock)
    await demo.call("POST", f"/control/servers/{server_id}/vanish")
    assert not await demo.show(server_id)
    assert await demo.ids("changes-since=2020-01-01T00:00:00Z") == []


async def test_a_server_changes_by_itself_and_its_date_tells(
    demo: Caller, clock: HandClock
) -> None:
    server_id = await demo.active(clock)
    before = (await demo.show(server_id))["updated"]
    clock.turn(5)
    change = {"status": "SHUTOFF", "name": "other", "tags": ["x"]}
    await demo.call("POST", f"/control/servers/{server_id}/set", change)
    server = await demo.show(server_id)
    assert (server["status"], server["name"], server["tags"]) == ("SHUTOFF", "other", ["x"])
    assert server["updated"] > before


async def test_a_server_deleted_by_another_is_in_changes_since(
    demo: Caller, clock: HandClock
) -> None:
    server_id = await demo.active(clock)
    await demo.call("POST", f"/control/servers/{server_id}/delete")
    assert not await demo.show(server_id)
    assert await demo.ids("changes-since=2020-01-01T00:00:00Z") == [server_id]


async def test_a_quota_that_is_ordered_is_kept(demo: Caller, clock: HandClock) -> None:
    await demo.call("POST", "/control/quota", {"project": "demo", "instances": 1})
    await demo.create()
    with pytest.raises(AssertionError, match="Quota exceeded for instances: Requested 1, but "
                       "already used 1 of 1 instances"):  # fmt: skip
        await demo.create()


async def test_expired_tokens_are_401_until_a_new_login(demo: Caller, clock: HandClock) -> None:
    await demo.call("POST", "/control/tokens/expire", {"ttl": 5})
    answer = await demo.call("GET", "/servers")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Keystone uri="http://cloud/identity"'
    user = {"name": "demo", "domain": {"id": "default"}, "password": "simulator"}
    identity = {"methods": ["password"], "password": {"user": user}}
    scope = {"project": {"name": "demo", "domain": {"id": "default"}}}
    login = {"auth": {"identity": identity, "scope": scope}}
    logged = await demo.http.post("/identity/v3/auth/tokens", json=login)
    demo.headers["X-Auth-Token"] = logged.headers["X-Subject-Token"]
    assert (await demo.call("GET", "/servers")).status_code == 200
    clock.turn(6)
    assert (await demo.call("GET", "/servers")).status_code == 401


async def test_calls_are_counted_by_route_and_found_by_the_callers_request_id(
    demo: Caller, clock: HandClock
) -> None:
    server_id = await demo.active(clock)
    await demo.call("DELETE", "/control/calls")
    mine = "req-11111111-1111-1111-1111-111111111111"
    await demo.call("GET", f"/servers/{server_id}", X_Openstack_Request_Id=mine)
    await demo.call("GET", f"/servers/{server_id}")
    told = (await demo.call("GET", "/control/calls")).json()
    assert told["by_route"] == [
        {"service": "compute", "method": "GET", "path": "/v2.1/servers/{id}", "count": 2}
    ]
    found = (await demo.call("GET", f"/control/calls?global_request_id={mine}")).json()
    assert (found["count"], found["calls"][0]["status"]) == (1, 200)


async def test_reset_makes_the_cloud_new_and_keeps_tokens(demo: Caller, clock: HandClock) -> None:
    await demo.active(clock)
    await order(demo, {"kind": "status"}, times=None)
    await demo.call("POST", "/control/reset")
    assert await demo.ids() == []


async def test_a_wrong_order_is_refused_with_what_is_wrong(demo: Caller) -> None:
    answer = await demo.call("POST", "/control/faults", {"effect": {"kind": "magic"}})
    assert answer.status_code == 422
    bad = {"match": {"path_regex": "("}, "effect": {"kind": "drop"}}
    assert (await demo.call("POST", "/control/faults", bad)).status_code == 422
