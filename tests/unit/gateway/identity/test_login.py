"""Login: the same answer to everybody who may not come in, and few tries for those who guess."""

import asyncio

import pytest
from sqlalchemy import select

from chassis.testing import VirtualClock, said
from contracts.access.identity import LoginFailed, SessionOpened, UserLocked
from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.tables import USERS
from services.gateway.identity.users import change
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.world import (
    ADA,
    BOB,
    CHEAP,
    PASSWORD,
    bearer,
    log_in,
    make_user,
    try_login,
)


async def test_the_right_password_begins_a_session(gateway: Gateway) -> None:
    ada = await make_user(gateway, ADA, {"demo": Role.OPERATOR})
    tokens = await log_in(gateway, "ADA@Example.org")
    async with bearer(gateway, tokens) as client:
        caller = (await client.get("/v1")).json()["caller"]
    assert caller == {"actor": f"user:{ada}", "project_id": "demo", "role": "operator"}
    [opened] = [m.data for m in await said(gateway.database) if isinstance(m.data, SessionOpened)]
    assert str(opened.session_id) == tokens["session_id"]


async def test_nobody_learns_whether_an_account_is_there(gateway: Gateway) -> None:
    await make_user(gateway, ADA)
    states = ("invited", "locked", "disabled")
    for state in states:
        user_id = await make_user(gateway, f"{state}@example.org")
        async with gateway.database.session() as session:
            await change(session, user_id, gateway.clock(), retoken=False, state=state)
    answers = [await try_login(gateway, ADA, "wrong")]
    answers += [await try_login(gateway, f"{who}@example.org") for who in ("nobody", *states)]
    told = [{**each.json(), "request_id": ""} for each in answers]
    assert told == [told[0]] * 5
    assert {each.status_code for each in answers} == {401}
    headers = {each.headers["www-authenticate"] for each in answers}
    assert len(headers) == 1


async def test_an_account_that_is_not_there_costs_the_same_comparison(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_user(gateway, ADA)
    compared: list[str] = []
    hashing = gateway.identity.passwords.hashing
    check = hashing.verify_and_update

    def counted(password: str, stored: str) -> tuple[bool, str | None]:
        compared.append(stored.rpartition("$")[0].rpartition("$")[0])
        return check(password, stored)

    monkeypatch.setattr(hashing, "verify_and_update", counted)
    await try_login(gateway, ADA, "wrong")
    await try_login(gateway, BOB, "wrong")
    assert compared == [f"$argon2id$v=19$m={CHEAP},t=3,p=1"] * 2


async def test_a_failure_is_audited_without_the_address_or_the_password(gateway: Gateway) -> None:
    ada = await make_user(gateway, ADA)
    await try_login(gateway, ADA, "a-secret-that-was-mistyped")
    await try_login(gateway, BOB, "a-secret-that-was-mistyped")
    known, unknown = await said(gateway.database)
    assert isinstance(known.data, LoginFailed)
    assert isinstance(unknown.data, LoginFailed)
    assert (known.data.user_id, unknown.data.user_id) == (ada, None)
    assert known.data.alias != unknown.data.alias
    text = known.model_dump_json() + unknown.model_dump_json()
    assert "example.org" not in text
    assert "mistyped" not in text


async def test_wrong_passwords_lock_an_account_for_longer_and_longer(
    gateway: Gateway, clock: VirtualClock
) -> None:
    await make_user(gateway, ADA)
    for _ in range(5):
        await try_login(gateway, ADA, "wrong")
    assert (await try_login(gateway)).status_code == 401
    clock.advance(seconds=31)
    await try_login(gateway, ADA, "wrong")
    clock.advance(seconds=31)
    assert (await try_login(gateway)).status_code == 401
    clock.advance(seconds=30)
    await log_in(gateway)
    locks = [m.data for m in await said(gateway.database) if isinstance(m.data, UserLocked)]
    assert [each.failures for each in locks] == [5, 6]
    for _ in range(4):
        await try_login(gateway, ADA, "wrong")
    await log_in(gateway)


async def test_a_lock_never_lasts_longer_than_a_quarter_of_an_hour(
    gateway: Gateway, clock: VirtualClock
) -> None:
    await make_user(gateway, ADA)
    async with gateway.database.session() as session:
        await session.execute(USERS.update().values(failures=1000))
    await try_login(gateway, ADA, "wrong")
    clock.advance(minutes=15, seconds=1)
    await log_in(gateway)


async def test_tries_at_once_are_counted_before_they_are_compared(gateway: Gateway) -> None:
    await make_user(gateway, ADA)
    await asyncio.gather(*[try_login(gateway, ADA, "wrong") for _ in range(12)])
    failed = [m.data for m in await said(gateway.database) if isinstance(m.data, LoginFailed)]
    assert len([each for each in failed if each.user_id is not None]) == 5
    assert (await try_login(gateway)).status_code == 401


async def test_gateways_count_together(gateway: Gateway, new_gateway: NewGateway) -> None:
    await make_user(gateway, ADA)
    replica = await new_gateway(password_memory=CHEAP)
    for n in range(5):
        await try_login((gateway, replica)[n % 2], ADA, "wrong")
    assert (await try_login(gateway)).status_code == 401
    assert (await try_login(replica)).status_code == 401


async def test_a_lock_leaves_sessions_alone(gateway: Gateway) -> None:
    await make_user(gateway, ADA, {"demo": Role.VIEWER})
    tokens = await log_in(gateway)
    for _ in range(6):
        await try_login(gateway, ADA, "wrong")
    async with bearer(gateway, tokens) as client:
        assert (await client.get("/v1/vms")).status_code == 200


async def test_a_hash_follows_the_cost_at_the_next_login(
    gateway: Gateway, new_gateway: NewGateway
) -> None:
    await make_user(gateway, ADA)
    dearer = await new_gateway(password_memory=CHEAP + 1024)
    await log_in(dearer)
    async with gateway.database.reading() as session:
        stored = await session.scalar(select(USERS.c.password))
    assert f"m={CHEAP + 1024}," in (stored or "")
    await log_in(dearer)


async def test_a_password_that_was_changed_while_it_was_compared_lets_nobody_in(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await make_user(gateway, ADA)
    check = gateway.identity.passwords.check

    async def meanwhile(password: str, stored: str | None) -> tuple[bool, str | None]:
        found = await check(password, stored)
        async with gateway.database.session() as session:
            await change(session, ada, gateway.clock(), retoken=True, password="another")
        return found

    monkeypatch.setattr(gateway.identity.passwords, "check", meanwhile)
    assert (await try_login(gateway, ADA, PASSWORD)).status_code == 401
