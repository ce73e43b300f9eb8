"""Sessions: each refresh token is good once; whoever comes with a used one ends them all."""

import asyncio

from sqlalchemy import select

from chassis.testing import VirtualClock, said
from contracts.access.identity import RefreshReused, SessionClosed
from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.tables import REFRESH_TOKENS, SESSIONS
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.world import (
    ADA,
    CHEAP,
    bearer,
    log_in,
    make_user,
    nobody,
    refresh,
)

VIEWER = {"demo": Role.VIEWER}


async def status(gateway: Gateway, token: str) -> int:
    async with bearer(gateway, token) as client:
        return (await client.get("/v1/vms")).status_code


async def test_a_session_goes_on_by_refreshing(gateway: Gateway, clock: VirtualClock) -> None:
    await make_user(gateway, ADA, VIEWER)
    tokens = await log_in(gateway)
    for _ in range(3):
        clock.advance(minutes=11)
        assert await status(gateway, tokens["access_token"]) == 401
        tokens = (await refresh(gateway, tokens)).json()
        assert await status(gateway, tokens["access_token"]) == 200


async def test_no_refresh_token_stands_in_the_database(gateway: Gateway) -> None:
    await make_user(gateway, ADA)
    tokens = await log_in(gateway)
    async with gateway.database.reading() as session:
        rows = (await session.execute(select(REFRESH_TOKENS.c.hash))).scalars().all()
    assert tokens["refresh_token"].encode() not in rows
    assert len(rows) == 1


async def test_a_replayed_refresh_token_ends_the_session_of_thief_and_owner(
    gateway: Gateway, clock: VirtualClock
) -> None:
    await make_user(gateway, ADA, VIEWER)
    stolen = await log_in(gateway)
    thief = (await refresh(gateway, stolen)).json()
    clock.advance(seconds=11)
    assert (await refresh(gateway, stolen)).status_code == 401
    assert (await refresh(gateway, thief)).status_code == 401
    assert await status(gateway, thief["access_token"]) == 401
    told = [m.data for m in await said(gateway.database)]
    assert [each.closed for each in told if isinstance(each, RefreshReused)] == [True]
    assert [each.why for each in told if isinstance(each, SessionClosed)] == ["reuse"]


async def test_a_double_within_seconds_gets_nothing_and_ends_nothing(
    gateway: Gateway, clock: VirtualClock
) -> None:
    await make_user(gateway, ADA, VIEWER)
    tokens = await log_in(gateway)
    first = (await refresh(gateway, tokens)).json()
    clock.advance(seconds=9)
    double = await refresh(gateway, tokens)
    assert (double.status_code, double.json()["code"]) == (409, "conflict")
    assert (await refresh(gateway, first)).status_code == 200
    told = [m.data for m in await said(gateway.database)]
    assert [each.closed for each in told if isinstance(each, RefreshReused)] == [False]


async def test_of_many_at_once_with_one_refresh_token_one_gets_tokens(gateway: Gateway) -> None:
    await make_user(gateway, ADA)
    tokens = await log_in(gateway)
    answers = await asyncio.gather(*[refresh(gateway, tokens) for _ in range(6)])
    assert sorted(each.status_code for each in answers) == [200, 409, 409, 409, 409, 409]


async def test_logout_is_seen_here_at_once_and_elsewhere_within_the_cache_time(
    gateway: Gateway, new_gateway: NewGateway, clock: VirtualClock
) -> None:
    await make_user(gateway, ADA, VIEWER)
    tokens, other = await log_in(gateway), await log_in(gateway)
    replica = await new_gateway(password_memory=CHEAP)
    assert await status(replica, tokens["access_token"]) == 200
    async with nobody(gateway) as client:
        body = {"refresh_token": tokens["refresh_token"]}
        assert (await client.post("/v1/auth/logout", json=body)).status_code == 204
    assert await status(gateway, tokens["access_token"]) == 401
    assert (await refresh(gateway, tokens)).status_code == 401
    clock.advance(seconds=6)
    assert await status(replica, tokens["access_token"]) == 401
    assert await status(replica, other["access_token"]) == 200


async def test_a_logout_with_an_unknown_token_tells_of_no_session(gateway: Gateway) -> None:
    async with nobody(gateway) as client:
        answer = await client.post("/v1/auth/logout", json={"refresh_token": "hr_unknown"})
    assert answer.status_code == 204
    assert [each.type for each in await said(gateway.database)] == ["access.done.v1"]


async def test_logout_everywhere_ends_every_session_of_the_user_alone(
    gateway: Gateway, clock: VirtualClock, new_gateway: NewGateway
) -> None:
    await make_user(gateway, ADA, VIEWER)
    await make_user(gateway, "bob@example.org", VIEWER)
    one, two = await log_in(gateway), await log_in(gateway)
    bobs = await log_in(gateway, "bob@example.org")
    replica = await new_gateway(password_memory=CHEAP)
    assert await status(replica, two["access_token"]) == 200
    async with bearer(gateway, one) as client:
        assert (await client.post("/v1/auth/logout-everywhere")).status_code == 204
    for each in (one, two):
        assert await status(gateway, each["access_token"]) == 401
        assert (await refresh(gateway, each)).status_code == 401
    clock.advance(seconds=6)
    assert await status(replica, two["access_token"]) == 401
    assert await status(gateway, bobs["access_token"]) == 200


async def test_a_session_that_nobody_refreshes_is_over(
    gateway: Gateway, clock: VirtualClock
) -> None:
    await make_user(gateway, ADA)
    tokens = await log_in(gateway)
    clock.advance(days=7, seconds=1)
    assert (await refresh(gateway, tokens)).status_code == 401


async def test_no_session_lasts_for_ever(gateway: Gateway, clock: VirtualClock) -> None:
    await make_user(gateway, ADA)
    tokens = await log_in(gateway)
    for _ in range(4):
        clock.advance(days=6)
        tokens = (await refresh(gateway, tokens)).json()
    clock.advance(days=6)
    assert (await refresh(gateway, tokens)).status_code == 401


async def test_what_is_over_is_forgotten(gateway: Gateway, clock: VirtualClock) -> None:
    await make_user(gateway, ADA)
    await log_in(gateway)
    clock.advance(days=31)
    await gateway.identity.tidy()
    async with gateway.database.reading() as session:
        assert (await session.execute(select(SESSIONS.c.id))).first() is None
        assert (await session.execute(select(REFRESH_TOKENS.c.hash))).first() is None
