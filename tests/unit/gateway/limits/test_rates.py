"""Rates: who asks too often is told so, and when to come back; nobody else notices."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

import http_sf
import httpx
import pytest
from pydantic import ValidationError

from chassis.testing import VirtualClock
from services.gateway.context import Gateway
from services.gateway.limits import memory
from services.gateway.limits.classes import RouteClass, Subject, class_of
from services.gateway.limits.memory import Memory
from services.gateway.limits.policies import DEFAULTS, policies
from services.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.world import ADMIN_KEY


async def ask(
    gateway: Gateway, key: str = ADMIN_KEY, *, method: str = "GET", path: str = "/v1"
) -> httpx.Response:
    async with client(gateway, key) as caller:
        return await caller.request(method, path)


def read(field: str) -> list[tuple[str, dict[str, int]]]:
    """A list of items with parameters (RFC 9651)."""
    return cast("list[tuple[str, dict[str, int]]]", http_sf.parse(field.encode(), tltype="list"))


def is_refused(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()["code"]) == (429, "rate_limited")


async def test_who_asks_too_often_is_told_when_to_come_back(
    new_gateway: NewGateway, clock: VirtualClock
) -> None:
    gateway = await new_gateway(rate_limits={"read": {"caller": "3/minute"}})
    for _ in range(3):
        assert (await ask(gateway)).status_code == 200
    answer = await ask(gateway)
    assert is_refused(answer)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["violated-policies"] == ["read-caller-60s"]
    clock.advance(seconds=int(answer.headers["Retry-After"]) + 60)
    assert (await ask(gateway)).status_code == 200


async def test_every_answer_tells_the_rates_and_what_is_left(new_gateway: NewGateway) -> None:
    gateway = await new_gateway(rate_limits={"read": {"caller": "5/second; 50/minute"}})
    await ask(gateway)
    answer = await ask(gateway)
    rates = read(answer.headers["RateLimit-Policy"])
    left = read(answer.headers["RateLimit"])
    assert rates == [
        ("read-caller-1s", {"q": 5, "w": 1}),
        ("read-caller-60s", {"q": 50, "w": 60}),
    ]
    assert [(name, said["r"]) for name, said in left] == [
        ("read-caller-1s", 3),
        ("read-caller-60s", 48),
    ]
    assert all(0 <= said["t"] <= 60 for _, said in left)


async def test_a_burst_and_what_is_sustained_are_both_held(
    new_gateway: NewGateway, clock: VirtualClock
) -> None:
    gateway = await new_gateway(rate_limits={"read": {"caller": "2/second; 3/minute"}})
    answers = [await ask(gateway) for _ in range(3)]
    assert [each.status_code for each in answers] == [200, 200, 429]
    assert answers[-1].json()["violated-policies"] == ["read-caller-1s"]
    clock.advance(seconds=2)
    assert is_refused(await ask(gateway)), "the refused one was counted for the minute"


async def test_one_caller_uses_up_nothing_of_another(
    gateway: Gateway, new_gateway: NewGateway
) -> None:
    limited = await new_gateway(rate_limits={"read": {"caller": "1/minute"}})
    async with client(gateway, ADMIN_KEY) as admin:
        made = await admin.post("/v1/api-keys", json={"name": "ci", "role": "viewer"})
    assert (await ask(limited)).status_code == 200
    assert is_refused(await ask(limited))
    assert (await ask(limited, made.json()["key"])).status_code == 200


async def test_all_callers_of_a_project_share_its_rate(
    gateway: Gateway, new_gateway: NewGateway
) -> None:
    limited = await new_gateway(rate_limits={"read": {"project": "2/minute"}})
    async with client(gateway, ADMIN_KEY) as admin:
        made = await admin.post("/v1/api-keys", json={"name": "ci", "role": "viewer"})
    await ask(limited)
    await ask(limited, made.json()["key"])
    answer = await ask(limited)
    assert is_refused(answer)
    assert answer.json()["violated-policies"] == ["read-project-60s"]


async def test_an_address_is_refused_before_its_key_is_looked_up(
    new_gateway: NewGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await new_gateway(rate_limits={"read": {"address": "2/minute"}})
    wrong = [await ask(gateway, f"hk_wrong_{n}") for n in range(2)]
    assert [each.status_code for each in wrong] == [401, 401]
    looked: list[str] = []
    monkeypatch.setattr(gateway.keys, "check", looked.append)
    assert is_refused(await ask(gateway))
    assert looked == []


async def test_a_whole_ipv6_site_counts_as_one_address(new_gateway: NewGateway) -> None:
    gateway = await new_gateway(
        rate_limits={"read": {"address": "1/minute"}}, trusted_proxies=["127.0.0.0/8"]
    )
    async with client(gateway, ADMIN_KEY) as caller:
        said = [
            (await caller.get("/v1", headers={"X-Forwarded-For": each})).status_code
            for each in ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1")
        ]
    assert said == [200, 429, 200]


async def test_reads_use_up_nothing_of_writes(new_gateway: NewGateway) -> None:
    gateway = await new_gateway(rate_limits={"read": {"caller": "1/minute"}})
    await ask(gateway)
    assert is_refused(await ask(gateway))
    assert (await ask(gateway, method="POST", path="/v1/vms")).status_code == 400


async def test_probes_are_never_refused(new_gateway: NewGateway) -> None:
    gateway = await new_gateway(rate_limits={"read": {"address": "1/minute"}})
    for _ in range(3):
        assert (await ask(gateway, path="/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/v1/vms", RouteClass.READ),
        ("HEAD", "/v1/vms", RouteClass.READ),
        ("POST", "/v1/vms", RouteClass.WRITE),
        ("GET", "/v1/events", RouteClass.STREAM),
        ("POST", "/v1/auth/login", RouteClass.SENSITIVE),
        ("GET", "/v1/api-keys", RouteClass.READ),
        ("POST", "/v1/api-keys", RouteClass.SENSITIVE),
        ("DELETE", "/v1/signing-keys/1", RouteClass.SENSITIVE),
        ("GET", "/readyz", None),
    ],
)
def test_what_is_asked_for_decides_which_rates_count(
    method: str, path: str, kind: RouteClass | None
) -> None:
    assert class_of(method, path) is kind


def test_what_is_not_given_keeps_its_default() -> None:
    made = policies({RouteClass.WRITE: {Subject.CALLER: "7/minute", Subject.ADDRESS: ""}})
    assert [each.item.amount for each in made[RouteClass.WRITE, Subject.CALLER]] == [7]
    assert made[RouteClass.WRITE, Subject.ADDRESS] == ()
    told = "; ".join(
        f"{each.item.amount}/minute" for each in made[RouteClass.WRITE, Subject.PROJECT]
    )
    assert told == DEFAULTS[RouteClass.WRITE][Subject.PROJECT]


@pytest.mark.parametrize("rates", ["many", "0/second", "5 each minute", "-1/second"])
def test_settings_refuse_what_is_no_rate(rates: str) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings.model_validate({"rate_limits": {"read": {"caller": rates}}})


@contextmanager
def room_for(keys: int, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(memory, "MOST_KEYS", keys)
        yield


async def test_however_many_addresses_come_memory_is_bounded(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Memory(clock)
    with room_for(100, monkeypatch):
        for n in range(1000):
            assert await counted.acquire_sliding_window_entry(f"key-{n}", 1, 60)
        assert len(counted._windows) == 100  # pyright: ignore[reportPrivateUsage]
    assert not await counted.acquire_sliding_window_entry("key-999", 1, 60)


async def test_windows_that_are_over_are_forgotten(clock: VirtualClock) -> None:
    counted = Memory(clock)
    for n in range(50):
        await counted.acquire_sliding_window_entry(f"key-{n}", 1, 1)
    clock.advance(seconds=60)
    await counted.acquire_sliding_window_entry("another", 1, 1)
    assert list(counted._windows) == ["another"]  # pyright: ignore[reportPrivateUsage]


async def test_a_window_slides_it_does_not_begin_anew(clock: VirtualClock) -> None:
    counted = Memory(clock)
    taken = [await counted.acquire_sliding_window_entry("key", 10, 60) for _ in range(10)]
    assert all(taken)
    clock.advance(seconds=60)
    assert not await counted.acquire_sliding_window_entry("key", 10, 60)
    clock.advance(seconds=30)
    more = [await counted.acquire_sliding_window_entry("key", 10, 60) for _ in range(6)]
    assert more == [True] * 5 + [False]
