"""Links by mail: for one purpose, once, for a while; and nobody learns who has an account."""

import asyncio

import pytest
from sqlalchemy import select

from chassis.testing import VirtualClock, said
from contracts.access.identity import LinkAsked, PasswordSet, UserRegistered
from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.tables import LINKS, USERS
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.world import (
    ADA,
    ANOTHER,
    BOB,
    CHEAP,
    EVE,
    PASSWORD,
    Postbox,
    bearer,
    deliver,
    log_in,
    make_user,
    nobody,
    postbox,
    refresh,
    try_login,
)


async def post(gateway: Gateway, path: str, **body: object) -> int:
    async with nobody(gateway) as client:
        return (await client.post(f"/v1/auth/{path}", json=body)).status_code


async def asked(gateway: Gateway, box: Postbox, email: str = ADA) -> str:
    """The token of a link to another password."""
    assert await post(gateway, "forgot", email=email) == 202
    await deliver(gateway)
    return box.token()


async def test_a_forgotten_password_is_replaced_and_all_sessions_end(
    gateway: Gateway, box: Postbox
) -> None:
    await make_user(gateway, ADA, {"demo": Role.VIEWER})
    tokens = await log_in(gateway)
    token = await asked(gateway, box)
    for _ in range(5):
        await try_login(gateway, ADA, "wrong")
    assert await post(gateway, "password", token=token, password=ANOTHER) == 204
    assert (await try_login(gateway, ADA, PASSWORD)).status_code == 401
    await log_in(gateway, ADA, ANOTHER)
    assert (await refresh(gateway, tokens)).status_code == 401
    async with bearer(gateway, tokens) as client:
        assert (await client.get("/v1/vms")).status_code == 401
    await deliver(gateway)
    assert "was changed" in box.letters[-1].subject
    told = [m.data for m in await said(gateway.database)]
    assert [each.by for each in told if isinstance(each, PasswordSet)] == ["link"]


async def test_a_link_works_once_also_for_two_at_once(gateway: Gateway, box: Postbox) -> None:
    await make_user(gateway, ADA)
    token = await asked(gateway, box)
    tries = [post(gateway, "password", token=token, password=f"{ANOTHER}-{n}") for n in range(4)]
    assert sorted(await asyncio.gather(*tries)) == [204, 400, 400, 400]
    assert await post(gateway, "password", token=token, password=ANOTHER) == 400


async def test_no_link_stands_in_the_database(gateway: Gateway, box: Postbox) -> None:
    await make_user(gateway, ADA)
    token = await asked(gateway, box)
    async with gateway.database.reading() as session:
        [row] = (await session.execute(select(LINKS))).all()
    assert token not in str(row)


async def test_a_link_ends(gateway: Gateway, box: Postbox, clock: VirtualClock) -> None:
    await make_user(gateway, ADA)
    token = await asked(gateway, box)
    clock.advance(hours=1, seconds=1)
    assert await post(gateway, "password", token=token, password=ANOTHER) == 400


async def test_a_link_is_for_its_purpose_and_its_deployment(
    gateway: Gateway, box: Postbox, new_gateway: NewGateway
) -> None:
    await make_user(gateway, ADA)
    token = await asked(gateway, box)
    foreign = await new_gateway(password_memory=CHEAP, internal_secret="t" * 32)
    other_site = await new_gateway(password_memory=CHEAP, public_url="https://other.example.org")
    assert await post(gateway, "email", token=token) == 400
    for elsewhere in (foreign, other_site):
        assert await post(elsewhere, "password", token=token, password=ANOTHER) == 400
    for altered in (token[:-2], token + "A", "a.b.c", "x", token.replace(".", "", 1)):
        assert await post(gateway, "password", token=altered, password=ANOTHER) == 400
    assert await post(gateway, "password", token=token, password=ANOTHER) == 204


async def test_a_weak_password_is_refused_and_the_link_still_works(
    gateway: Gateway, box: Postbox
) -> None:
    await make_user(gateway, ADA)
    token = await asked(gateway, box)
    for weak in ("short", "password1234", "qwertyuiop12", "a" * 40, "ada@example.org", "x" * 129):
        assert await post(gateway, "password", token=token, password=weak) == 400, weak
    assert await post(gateway, "password", token=token, password="ünïcödé kettle 19") == 204


async def test_another_links_end_with_the_first_that_is_used(
    gateway: Gateway, box: Postbox, clock: VirtualClock
) -> None:
    await make_user(gateway, ADA)
    first = await asked(gateway, box)
    clock.advance(minutes=2)
    second = await asked(gateway, box)
    assert await post(gateway, "password", token=second, password=ANOTHER) == 204
    assert await post(gateway, "password", token=first, password=PASSWORD) == 400


async def test_asking_is_answered_and_recorded_alike_whoever_it_is(
    gateway: Gateway, box: Postbox
) -> None:
    await make_user(gateway, ADA)
    for email in (ADA, BOB):
        assert await post(gateway, "forgot", email=email) == 202
    told = await said(gateway.database)
    assert [type(m.data) for m in told] == [LinkAsked, LinkAsked]
    await deliver(gateway)
    assert [letter.to for letter in box.letters] == [ADA]


async def test_nobody_fills_a_letter_box(
    gateway: Gateway, box: Postbox, clock: VirtualClock
) -> None:
    await make_user(gateway, ADA)
    for _ in range(5):
        await post(gateway, "forgot", email=ADA)
    await deliver(gateway)
    await post(gateway, "forgot", email=ADA)
    await deliver(gateway)
    assert len(box.letters) == 1
    clock.advance(minutes=2)
    await post(gateway, "forgot", email=ADA)
    await deliver(gateway)
    assert len(box.letters) == 2


async def test_registration_is_closed_unless_it_is_opened(gateway: Gateway) -> None:
    assert await post(gateway, "register", email=EVE, name="Eve") == 403


async def test_who_registers_proves_the_address_before_they_choose_a_password(
    new_gateway: NewGateway,
) -> None:
    gateway = await new_gateway(password_memory=CHEAP, registration="open")
    box = postbox(gateway)
    await make_user(gateway, ADA)
    for email in (EVE, ADA):
        assert await post(gateway, "register", email=email, name="Click http://evil.org") == 202
    await deliver(gateway)
    to = {letter.to: letter.text for letter in box.letters}
    assert set(to) == {EVE, ADA}
    assert "have an account already" in " ".join(to[ADA].split())
    assert not any("evil" in text for text in to.values())
    box.letters.sort(key=lambda letter: letter.to)
    assert await post(gateway, "password", token=box.token(), password=ANOTHER) == 204
    async with bearer(gateway, await log_in(gateway, EVE, ANOTHER)) as eve:
        assert (await eve.get("/v1/me")).json()["user"]["memberships"] == {}
        assert (await eve.get("/v1/vms")).status_code == 403
    told = [m.data for m in await said(gateway.database)]
    assert len([each for each in told if isinstance(each, UserRegistered)]) == 1


async def test_an_address_changes_once_its_new_owner_followed_the_link(
    gateway: Gateway, box: Postbox
) -> None:
    await make_user(gateway, ADA)
    async with bearer(gateway, await log_in(gateway)) as ada:
        wanted = {"email": "Countess@example.org", "password": "wrong"}
        assert (await ada.post("/v1/me/email", json=wanted)).status_code == 401
        wanted["password"] = PASSWORD
        assert (await ada.post("/v1/me/email", json=wanted)).status_code == 202
    await deliver(gateway)
    assert box.letters[-1].to == "Countess@example.org"
    await log_in(gateway, ADA)
    assert await post(gateway, "email", token=box.token()) == 204
    assert (await try_login(gateway, ADA)).status_code == 401
    await log_in(gateway, "countess@example.org")
    await deliver(gateway)
    assert box.letters[-1].to == ADA
    assert not any("ountess" in m.model_dump_json() for m in await said(gateway.database))


async def test_an_address_that_was_taken_meanwhile_stays_who_took_its(
    gateway: Gateway, box: Postbox
) -> None:
    await make_user(gateway, ADA)
    async with bearer(gateway, await log_in(gateway)) as ada:
        await ada.post("/v1/me/email", json={"email": BOB, "password": PASSWORD})
    await deliver(gateway)
    await make_user(gateway, BOB)
    assert await post(gateway, "email", token=box.token()) == 409
    async with gateway.database.reading() as session:
        emails = (await session.execute(select(USERS.c.email))).scalars().all()
    assert sorted(emails) == [ADA, BOB]


async def test_an_address_that_is_taken_in_that_moment_is_a_conflict(
    gateway: Gateway, box: Postbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_user(gateway, ADA)
    async with bearer(gateway, await log_in(gateway)) as ada:
        await ada.post("/v1/me/email", json={"email": BOB, "password": PASSWORD})
    await deliver(gateway)
    await make_user(gateway, BOB)

    async def not_yet(*_: object) -> None:
        return None

    monkeypatch.setattr("services.gateway.identity.passing.by_email", not_yet)
    assert await post(gateway, "email", token=box.token()) == 409


async def test_a_user_who_was_locked_sets_no_password(gateway: Gateway, box: Postbox) -> None:
    await make_user(gateway, EVE, is_admin=True)
    ada = await make_user(gateway, ADA)
    token = await asked(gateway, box)
    async with bearer(gateway, await log_in(gateway, EVE)) as admin:
        await admin.patch(f"/v1/users/{ada}", json={"state": "locked"})
    assert await post(gateway, "password", token=token, password=ANOTHER) == 409
