"""Rates over a real Redis: all gateways count together, and none waits for a Redis that is gone."""

from collections.abc import AsyncIterator

import pytest
from redis.exceptions import RedisError

from chassis.testing import VirtualClock
from deploy.local.redis import LocalRedis
from services.gateway.limits import store
from services.gateway.limits.classes import RouteClass, Subject
from services.gateway.limits.policies import Counted, policies
from services.gateway.limits.shared import Shared
from services.gateway.limits.store import Store
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.world import ADMIN_KEY

WANTED = [
    Counted(each, "caller")
    for each in policies({RouteClass.READ: {Subject.CALLER: "2/hour"}})[
        RouteClass.READ, Subject.CALLER
    ]
]


async def took(by: Store) -> list[bool]:
    return (await by.take(WANTED))[0]


def no_more(*_: object) -> None:
    raise AssertionError("Redis was asked again")


@pytest.fixture
async def stores(redis: LocalRedis, clock: VirtualClock) -> AsyncIterator[tuple[Store, Store]]:
    made = Store(redis.url, clock), Store(redis.url, clock)
    yield made
    for each in made:
        await each.close()


async def test_gateways_count_together(stores: tuple[Store, Store]) -> None:
    here, there = stores
    assert await took(here) == [True]
    assert await took(there) == [True]
    assert await took(here) == [False]
    assert [each.left for each in (await there.take([], WANTED))[1]] == [0]
    assert await here.probe() == "redis"


async def test_while_redis_is_gone_each_counts_by_itself_and_says_so_once(
    redis: LocalRedis,
    stores: tuple[Store, Store],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there = stores
    monkeypatch.setattr(store, "REST_SECONDS", 0.0)
    await took(here)
    redis.kill()
    with caplog.at_level("INFO", store.__name__):
        assert [await took(here) for _ in range(3)] == [[True], [True], [False]]
    assert len(caplog.messages) == 1
    assert not here.is_shared
    assert await took(there) == [True]
    with pytest.raises(RedisError):
        await here.probe()


async def test_once_redis_is_back_they_count_together_again(
    redis: LocalRedis, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = stores
    monkeypatch.setattr(store, "REST_SECONDS", 0.0)
    redis.kill()
    await took(here)
    redis.start()
    assert [await took(here), await took(there)] == [[True], [True]]
    assert await took(there) == [False]
    assert here.is_shared


async def test_a_redis_that_hangs_is_asked_by_one_request_only(
    redis: LocalRedis, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = stores
    looks: list[bool] = []
    monkeypatch.setattr(store, "REST_SECONDS", 3600.0)
    await took(here)
    redis.pause()
    try:
        await took(here)
        looks += [here.is_shared]
        with monkeypatch.context() as patched:
            patched.setattr(Shared, "ask", no_more)
            assert await took(here) == [True]
    finally:
        redis.resume()
    assert looks == [False]


async def test_a_gateway_answers_while_redis_is_gone(
    redis: LocalRedis, new_gateway: NewGateway
) -> None:
    gateway = await new_gateway(redis_url=redis.url)
    try:
        async with client(gateway, ADMIN_KEY) as caller:
            assert (await caller.get("/v1")).status_code == 200
            assert gateway.limiter.store.is_shared
            redis.kill()
            assert (await caller.get("/v1")).status_code == 200
            assert not gateway.limiter.store.is_shared
    finally:
        await gateway.limiter.store.close()
