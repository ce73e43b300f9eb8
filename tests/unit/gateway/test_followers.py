"""Followers and waiters: nothing is missed, doubled or held up."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from fastapi import Request
from sqlalchemy.exc import OperationalError

from chassis.identity import Caller
from chassis.ids import new_id
from chassis.testing import VirtualClock, hear
from contracts.vm.events import Observed
from contracts.vm.states import VmSnapshot, VmState
from services.gateway import followers
from services.gateway.context import Gateway
from services.gateway.followers import Kept, Reset, Wanted
from services.gateway.routes import events
from services.gateway.tidy import Tidy
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.world import NOW, Clients, changed, create, going, told

DEMO = Wanted("demo")


@asynccontextmanager
async def watching(*gateways: Gateway) -> AsyncGenerator[None]:
    """The background work of gateways that tells who waits."""
    works = [work for g in gateways for work in (g.tail.watch, g.endings.watch)]
    tasks = [asyncio.ensure_future(work()) for work in works]
    yield
    for gateway in gateways:
        gateway.service.stopping.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def take(gateway: Gateway, wanted: Wanted, behind: int | None, count: int) -> list[Kept]:
    found: list[Kept] = []
    async with asyncio.timeout(30):
        async for kept in gateway.tail.follow(wanted, behind):
            assert isinstance(kept, Kept)
            found.append(kept)
            if len(found) == count:
                break
    return found


async def test_a_follower_gets_what_comes_in_order_and_resumes_where_it_was(
    gateway: Gateway, clients: Clients
) -> None:
    operation = await create(clients.operator)
    async with watching(gateway):
        await hear(gateway.service, *going(operation))
        first = await take(gateway, DEMO, 0, 2)
        assert [kept.type for kept in first] == ["operation.started.v1", "operation.issued.v1"]
        following = asyncio.ensure_future(take(gateway, DEMO, first[-1].id, 2))
        await hear(gateway.service, changed(operation["vm_id"], 1, VmState.ACTIVE))
        kinds = [kept.type for kept in await following]
    assert kinds == ["operation.succeeded.v1", "vm.changed.v1"]


async def test_a_follower_behind_what_is_in_memory_reads_the_table(
    gateway: Gateway, clients: Clients
) -> None:
    vm_id = str(new_id())
    for version in range(1, 8):
        await hear(gateway.service, changed(vm_id, version, VmState.ACTIVE))
    async with watching(gateway):  # the tail begins behind these
        found = await take(gateway, DEMO, 0, 7)
    assert [kept.event["data"]["version"] for kept in found] == list(range(1, 8))


async def test_memory_holds_no_more_than_its_limit_and_the_table_has_the_rest(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "KEPT", 2)
    vm_id = str(new_id())
    async with watching(gateway):
        following = asyncio.ensure_future(take(gateway, DEMO, None, 5))
        await asyncio.sleep(0.05)
        for version in range(1, 6):
            await hear(gateway.service, changed(vm_id, version, VmState.ACTIVE))
        live, again = await following, await take(gateway, DEMO, 0, 5)
    assert [kept.id for kept in live] == [kept.id for kept in again]
    assert gateway.tail.in_memory <= 2


async def test_a_follower_is_told_only_what_it_wants_and_may_see(gateway: Gateway) -> None:
    mine, other = new_id(), new_id()
    await hear(gateway.service, changed(str(other), 1, VmState.ACTIVE))
    stranger = changed(str(new_id()), 1, VmState.ACTIVE)
    await hear(gateway.service, stranger.model_copy(update={"project_id": "other"}))
    await hear(gateway.service, changed(str(mine), 1, VmState.ACTIVE))
    async with watching(gateway):
        of_mine = await take(gateway, Wanted("demo", mine), 0, 1)
        by_type = await take(gateway, Wanted("demo", None, frozenset({"vm.*"})), 0, 2)
        theirs = await take(gateway, Wanted("other"), 0, 1)
    assert [kept.vm_id for kept in of_mine] == [mine]
    assert [kept.vm_id for kept in by_type] == [other, mine]
    assert [kept.project_id for kept in theirs] == ["other"]


async def test_looks_that_found_nothing_new_are_not_told(gateway: Gateway) -> None:
    vm_id = str(new_id())
    vm = VmSnapshot(state=VmState.ACTIVE)
    observed = told(Observed(version=1, observed_at=NOW, vm=vm), subject=vm_id)
    await hear(gateway.service, observed, changed(vm_id, 2, VmState.STOPPED))
    async with watching(gateway):
        [only] = await take(gateway, DEMO, 0, 1)
    assert only.type == "vm.changed.v1"


async def test_a_follower_that_nothing_comes_for_is_kept_alive_whatever_others_are_told(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "QUIET_SECONDS", 0.0)
    async with watching(gateway), asyncio.timeout(30):
        quiet = gateway.tail.batches(Wanted("other"), 0)
        heard = asyncio.ensure_future(anext(quiet))
        while not heard.done():
            await hear(gateway.service, changed(str(new_id()), 1, VmState.ACTIVE))
        assert await heard == []
        await quiet.aclose()


async def test_a_place_that_is_not_kept_any_more_begins_with_a_reset(
    gateway: Gateway, clock: VirtualClock
) -> None:
    vm_id = str(new_id())
    await hear(gateway.service, *[changed(vm_id, v, VmState.ACTIVE) for v in (1, 2)])
    clock.advance(days=8)
    await hear(gateway.service, changed(vm_id, 3, VmState.ACTIVE))
    week, day = timedelta(days=7), timedelta(days=1)
    await Tidy(gateway.database, clock, week, day).forget()
    async with watching(gateway):
        for behind in (1, 2, 999):
            async for first in gateway.tail.follow(DEMO, behind):
                assert isinstance(first, Reset) is (behind != 2), behind
                break


async def test_a_wait_ends_with_the_operation_whichever_replica_heard_of_it(
    gateway: Gateway, clients: Clients, new_gateway: NewGateway
) -> None:
    replica = await new_gateway()
    operation = await create(clients.operator)
    async with watching(gateway):
        url, prefer = f"/v1/operations/{operation['id']}", {"Prefer": "wait=30"}
        waiting = asyncio.ensure_future(clients.viewer.get(url, headers=prefer))
        await asyncio.sleep(0)
        await hear(replica.service, *going(operation))
        answer = await waiting
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")


async def test_a_stopping_gateway_lets_waiters_and_followers_go(
    gateway: Gateway, clients: Clients
) -> None:
    operation = await create(clients.operator)
    async with watching(gateway), asyncio.timeout(20):
        waiting = gateway.endings.wait(UUID(operation["id"]), timedelta(minutes=10))
        following = take(gateway, DEMO, None, 1)
        both = asyncio.gather(waiting, following)
        await asyncio.sleep(0)
        gateway.service.stopping.set()
        assert (await both)[1] == []


async def test_two_gateways_that_project_give_places_in_the_order_of_commits(
    gateway: Gateway, new_gateway: NewGateway
) -> None:
    replica = await new_gateway()
    vms = [str(new_id()) for _ in range(4)]
    async with watching(gateway):
        following = asyncio.ensure_future(take(gateway, DEMO, None, 20))
        await asyncio.sleep(0.05)
        works = [
            hear(each.service, *[changed(vm, v, VmState.ACTIVE) for v in range(1, 6)])
            for each, vm in zip([gateway, replica] * 2, vms, strict=True)
        ]
        await asyncio.gather(*works)
        found = await following
    assert [kept.id for kept in found] == sorted(kept.id for kept in found)
    assert len({kept.id for kept in found}) == 20


async def test_the_stream_over_http_is_what_a_follower_gets(
    gateway: Gateway, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def batches(wanted: Wanted, behind: int | None) -> AsyncGenerator[list[Kept | Reset]]:
        assert (wanted, behind) == (DEMO, 5)
        yield [Reset(7)]
        yield []

    monkeypatch.setattr(gateway.tail, "batches", batches)
    answer = await clients.viewer.get("/v1/events", headers={"Last-Event-ID": "5"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Cache-Control"] == "no-cache"
    begin, reset, quiet = answer.text.strip().split("\n\n")
    assert "retry: 1000" in begin
    assert reset.splitlines() == ["event: hostler.reset", 'data: {"id":7}', "id: 7"]
    assert quiet.startswith(":")


async def test_a_stream_ends_quietly_where_an_outage_leaves_open_whether_it_may_go_on(
    gateway: Gateway, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def batches(wanted: Wanted, behind: int | None) -> AsyncGenerator[list[Kept | Reset]]:
        yield [Reset(7)]
        monkeypatch.setattr(events, "recognize", out)
        yield [Reset(8)]

    async def out(_request: Request) -> Caller | None:
        raise OperationalError("SELECT", {}, Exception("connection refused"))

    monkeypatch.setattr(gateway.tail, "batches", batches)
    answer = await clients.viewer.get("/v1/events")
    assert answer.status_code == 200
    assert answer.text.strip().endswith("id: 7")


async def test_a_stream_that_cannot_be_begun_or_gone_on_with_in_an_outage_ends_quietly(
    gateway: Gateway, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.tail, "_place", refused)
    answer = await clients.viewer.get("/v1/events", headers={"Last-Event-ID": "5"})
    assert (answer.status_code, "retry: 1000" in answer.text) == (200, True)
    assert "id:" not in answer.text


async def refused(_behind: int | None) -> int:
    raise OperationalError("SELECT", {}, Exception("connection refused"))
