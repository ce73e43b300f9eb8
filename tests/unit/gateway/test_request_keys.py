"""Signing keys and nonces, on both databases: a nonce is one gateway's, whoever asks at once."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import update

from chassis.identity import Caller
from chassis.ids import new_id
from chassis.testing import VirtualClock
from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.request_keys import REQUEST_KEYS, forget_nonces, use_nonce
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.world import Clients

HMAC = {"name": "laptop", "algorithm": "hmac-sha256"}
CALLER = Caller("key:laptop", "demo", Role.ADMIN, key_id=new_id())
KEY = new_id()


async def register(gateway: Gateway, clock: VirtualClock) -> None:
    row = {
        "id": KEY,
        "project_id": CALLER.project_id,
        "holder_id": CALLER.key_id,
        "holder": CALLER.actor,
        "name": "laptop",
        "algorithm": "hmac-sha256",
        "created_at": clock(),
        "created_by": CALLER.actor,
    }
    async with gateway.database.session() as session:
        await session.execute(REQUEST_KEYS.insert().values(row))


async def use(gateway: Gateway, clock: VirtualClock, caller: Caller = CALLER) -> bool:
    async with gateway.database.session() as session:
        return await use_nonce(session, caller, KEY, "n" * 16, clock() + timedelta(minutes=6))


async def test_of_gateways_that_ask_at_once_one_has_the_nonce(
    new_gateway: NewGateway, clock: VirtualClock
) -> None:
    here, there = await new_gateway(), await new_gateway()
    await register(here, clock)
    taken = await asyncio.gather(*[use(each, clock) for each in (here, there, here, there)])
    assert sorted(taken) == [False, False, False, True]


async def test_a_nonce_is_free_again_once_it_was_forgotten(
    gateway: Gateway, clock: VirtualClock
) -> None:
    await register(gateway, clock)
    assert await use(gateway, clock)
    for minutes, free in ((5, False), (2, True)):
        clock.advance(minutes=minutes)
        async with gateway.database.session() as session:
            await forget_nonces(session, clock())
        assert await use(gateway, clock) == free


async def test_a_nonce_is_used_by_a_live_key_of_the_caller_only(
    gateway: Gateway, clock: VirtualClock
) -> None:
    await register(gateway, clock)
    for other in (replace(CALLER, key_id=new_id()), replace(CALLER, project_id="other")):
        assert not await use(gateway, clock, other)
    async with gateway.database.session() as session:
        await session.execute(update(REQUEST_KEYS).values(revoked_at=clock()))
    assert not await use(gateway, clock)


async def test_of_two_keys_of_one_name_that_come_at_once_one_is_registered(
    clients: Clients,
) -> None:
    asked = [clients.admin.post("/v1/signing-keys", json=HMAC) for _ in range(2)]
    answers = await asyncio.gather(*asked)
    assert sorted(each.status_code for each in answers) == [201, 409]


async def test_a_revoked_keys_name_can_be_given_again(clients: Clients) -> None:
    made = (await clients.admin.post("/v1/signing-keys", json=HMAC)).json()
    for _ in range(2):
        answer = await clients.admin.delete(f"/v1/signing-keys/{made['id']}")
        assert answer.status_code == 204
    assert (await clients.admin.post("/v1/signing-keys", json=HMAC)).status_code == 201
    listed = (await clients.admin.get("/v1/signing-keys", params={"limit": 1})).json()
    assert listed["items"][0]["revoked_at"]
    assert listed["links"]["next"]


async def test_a_key_is_registered_for_another_key_of_the_project_only(clients: Clients) -> None:
    theirs = (await clients.stranger.get("/v1/api-keys")).json()["items"][0]["id"]
    answer = await clients.admin.post("/v1/signing-keys", json={**HMAC, "api_key_id": theirs})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
