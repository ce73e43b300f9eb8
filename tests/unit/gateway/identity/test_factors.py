"""Second factors: they count once shown, are asked for at login, and each code is good once."""

import asyncio
import base64
from typing import Any

import pytest
from sqlalchemy import select

from chassis.testing import Killed, VirtualClock, said
from contracts.access.identity import (
    FactorAsked,
    FactorEnrolled,
    FactorFailed,
    FactorRemoved,
    FactorsReset,
    RecoveryCodesMade,
    RecoveryCodeUsed,
    SessionOpened,
)
from services.gateway.context import Gateway
from services.gateway.identity.proofs import Proof
from services.gateway.identity.saying import Asking
from services.gateway.identity.tables import CHALLENGES, FACTORS, RECOVERY_CODES
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.authenticator import Authenticator
from tests.unit.gateway.identity.second import Person, passkey_login, person, post
from tests.unit.gateway.identity.world import (
    ADA,
    BOB,
    CHEAP,
    PASSWORD,
    Postbox,
    bearer,
    deliver,
    log_in,
    try_login,
)


@pytest.fixture
async def ada(gateway: Gateway) -> Person:
    """Has an app, whose code of two steps before was used for enrolling."""
    made = await person(gateway)
    await made.enrol(steps=-1)
    return made


async def events(gateway: Gateway, *kinds: type) -> list[Any]:
    return [each.data for each in await said(gateway.database) if isinstance(each.data, kinds)]


async def test_an_app_is_shown_its_secret_as_text_uri_and_picture(gateway: Gateway) -> None:
    ada = await person(gateway)
    shown = (await ada.ask("POST", "/v1/me/factors/totp", {"name": "phone"})).json()
    assert shown["uri"].startswith("otpauth://totp/Hostler:ada%40example.org?")
    assert f"secret={shown['secret']}" in shown["uri"]
    assert base64.b64decode(shown["qr_png"]).startswith(b"\x89PNG\r\n")


async def test_a_factor_does_not_count_before_a_code_has_confirmed_it(gateway: Gateway) -> None:
    ada = await person(gateway)
    begun = (await ada.ask("POST", "/v1/me/factors/totp", {"name": "phone"})).json()
    assert (await ada.ask("GET", "/v1/me/factors")).json()["items"] == []
    assert (await try_login(gateway)).status_code == 200
    wrong = await ada.ask("POST", f"/v1/me/factors/{begun['id']}/confirm", {"code": "000000"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (400, "body.code")
    assert await events(gateway, FactorEnrolled) == []


async def test_a_factor_that_was_begun_again_replaces_the_one_that_nobody_confirmed(
    gateway: Gateway,
) -> None:
    ada = await person(gateway)
    first = (await ada.ask("POST", "/v1/me/factors/totp", {"name": "phone"})).json()
    await ada.enrol()
    gone = await ada.ask("POST", f"/v1/me/factors/{first['id']}/confirm", {"code": "000000"})
    assert gone.status_code == 404


async def test_secrets_are_not_readable_in_the_database(ada: Person) -> None:
    async with ada.gateway.database.reading() as session:
        row = (await session.execute(select(FACTORS))).one()
        hashes = (await session.scalars(select(RECOVERY_CODES.c.hash))).all()
    assert ada.secret.encode() not in row.sealed
    assert not {each.encode() for each in ada.codes} & set(hashes)
    told = " ".join(each.model_dump_json() for each in await said(ada.gateway.database))
    assert not any(each in told for each in (ada.secret, *ada.codes, "phone"))


async def test_a_login_with_a_factor_takes_both(ada: Person) -> None:
    half = await ada.begin()
    assert set(half) == {"mfa_token", "kinds", "expires_in"}
    assert (half["kinds"], half["expires_in"]) == (["totp", "recovery_code"], 300)
    tokens = await ada.finish(half, code=ada.code())
    assert tokens.status_code == 200, tokens.text
    async with bearer(ada.gateway, tokens.json()) as client:
        assert (await client.get("/v1/vms")).status_code == 200
    asked, opened = (await events(ada.gateway, FactorAsked, SessionOpened))[-2:]
    assert isinstance(asked, FactorAsked)
    assert opened.amr == ("pwd", "otp", "mfa")


async def test_half_a_login_is_good_once(ada: Person) -> None:
    half = await ada.begin()
    assert (await ada.finish(half, code=ada.code())).status_code == 200
    assert (await ada.finish(half, code=ada.code(1))).status_code == 401
    async with ada.gateway.database.reading() as session:
        assert (await session.execute(select(CHALLENGES))).all() == []


async def test_half_a_login_is_over_after_five_minutes(ada: Person, clock: VirtualClock) -> None:
    half = await ada.begin()
    clock.advance(minutes=5)
    assert (await ada.finish(half, code=ada.code())).status_code == 401


async def test_half_a_login_is_over_when_the_password_is_changed(ada: Person) -> None:
    half = await ada.begin()
    body = {"current": PASSWORD, "password": "velvet-anchor-monday-77"}
    assert (await ada.ask("POST", "/v1/me/password", body)).status_code == 204
    assert (await ada.finish(half, code=ada.code())).status_code == 401


@pytest.mark.parametrize("steps", [-1, 0, 1])
async def test_a_code_is_taken_of_the_step_before_and_after(
    gateway: Gateway, clock: VirtualClock, steps: int
) -> None:
    ada = await person(gateway)
    await ada.enrol()
    clock.advance(minutes=3)
    assert (await ada.finish(await ada.begin(), code=ada.code(steps))).status_code == 200


@pytest.mark.parametrize("steps", [-2, 2])
async def test_a_code_is_not_taken_of_another_time(
    gateway: Gateway, clock: VirtualClock, steps: int
) -> None:
    ada = await person(gateway)
    await ada.enrol()
    clock.advance(minutes=3)
    assert (await ada.finish(await ada.begin(), code=ada.code(steps))).status_code == 401
    [failed] = await events(gateway, FactorFailed)
    assert (failed.why, failed.at, failed.kind) == ("wrong", "login", "totp")


async def test_a_code_that_was_used_is_refused_and_so_are_those_before_it(ada: Person) -> None:
    assert (await ada.finish(await ada.begin(), code=ada.code())).status_code == 200
    for code in (ada.code(), ada.code(-1)):
        assert (await ada.finish(await ada.begin(), code=code)).status_code == 401
    assert [each.why for each in await events(ada.gateway, FactorFailed)] == ["replayed"] * 2


async def test_the_code_that_confirmed_a_factor_opens_no_session(gateway: Gateway) -> None:
    ada = await person(gateway)
    await ada.enrol()
    assert (await ada.finish(await ada.begin(), code=ada.code())).status_code == 401


async def test_a_login_that_dies_on_its_way_uses_nothing_up(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity, half = ada.gateway.identity, await ada.begin()

    async def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(identity.sessions, "open", die)
        await identity.login.finish(half["mfa_token"], Proof(code=ada.code()), Asking())
    assert (await ada.finish(half, code=ada.code())).status_code == 200


async def test_of_two_gateways_one_takes_a_code(ada: Person, new_gateway: NewGateway) -> None:
    replica = await new_gateway(password_memory=CHEAP)
    halves = [await ada.begin() for _ in range(4)]
    where = [ada.gateway, replica] * 2
    answers = await asyncio.gather(
        *[
            post(gateway, "/v1/auth/second-factor", mfa_token=half["mfa_token"], code=ada.code())
            for gateway, half in zip(where, halves, strict=True)
        ]
    )
    assert sorted(each.status_code for each in answers) == [200, 401, 401, 401]


async def test_wrong_codes_lock_codes_and_the_right_password_forgives_none(
    ada: Person, clock: VirtualClock
) -> None:
    for _ in range(5):
        await ada.finish(await ada.begin(), code="000000")
    assert (await ada.finish(await ada.begin(), code=ada.code())).status_code == 401
    failed = await events(ada.gateway, FactorFailed)
    assert [each.why for each in failed] == ["wrong"] * 5 + ["locked"]
    assert failed[4].locked_until is not None
    clock.advance(seconds=31)
    await ada.finish(await ada.begin(), code="000000")
    clock.advance(seconds=31)
    assert (await ada.finish(await ada.begin(), code=ada.code())).status_code == 401
    clock.advance(seconds=30)
    assert (await ada.finish(await ada.begin(), code=ada.code())).status_code == 200


async def test_codes_at_once_are_counted_before_they_are_compared(ada: Person) -> None:
    half = await ada.begin()
    await asyncio.gather(*[ada.finish(half, code="000000") for _ in range(12)])
    why = [each.why for each in await events(ada.gateway, FactorFailed)]
    assert sorted(why) == ["locked"] * 7 + ["wrong"] * 5


async def test_locked_codes_leave_passkeys_and_sessions_alone(ada: Person) -> None:
    key = Authenticator()
    assert (await ada.enrol_passkey(key)).status_code == 201
    half = await ada.begin()
    for _ in range(6):
        await ada.finish(half, code="000000")
    assert (await ada.ask("GET", "/v1/vms")).status_code == 200
    assert (await passkey_login(ada.gateway, key)).status_code == 200


async def test_a_wrong_password_is_answered_as_before(ada: Person) -> None:
    wrong, unknown = await try_login(ada.gateway, ADA, "x"), await try_login(ada.gateway, BOB, "x")
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert {**wrong.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}


async def test_recovery_codes_come_with_the_first_factor_and_each_is_good_once(
    ada: Person,
) -> None:
    assert len(set(ada.codes)) == 10
    used = ada.codes[0].upper().replace("-", " ")
    assert (await ada.finish(await ada.begin(), recovery_code=used)).status_code == 200
    again = await ada.finish(await ada.begin(), recovery_code=ada.codes[0])
    assert again.status_code == 401
    [event] = await events(ada.gateway, RecoveryCodeUsed)
    assert event.left == 9
    second = await ada.enrol("tablet", steps=0)
    assert second.json()["recovery_codes"] is None


async def test_a_used_recovery_code_is_told_by_mail_with_how_many_are_left(
    ada: Person, box: Postbox
) -> None:
    await deliver(ada.gateway)
    for code in ada.codes[:2]:
        await ada.finish(await ada.begin(), recovery_code=code)
        await deliver(ada.gateway)
    assert [each.to for each in box.letters] == [ADA] * 3
    assert "There are 8 left" in box.letters[-1].text
    assert "new second factor" in box.letters[0].text


async def test_a_recovery_code_is_used_once_by_many_at_once(ada: Person) -> None:
    halves = [await ada.begin() for _ in range(4)]
    tries = [ada.finish(half, recovery_code=ada.codes[0]) for half in halves]
    answers = await asyncio.gather(*tries)
    assert sorted(each.status_code for each in answers) == [200, 401, 401, 401]


async def test_new_recovery_codes_make_the_old_ones_worthless(ada: Person) -> None:
    made = await ada.ask("POST", "/v1/me/recovery-codes")
    assert made.status_code == 201, made.text
    old = await ada.finish(await ada.begin(), recovery_code=ada.codes[0])
    new = await ada.finish(await ada.begin(), recovery_code=made.json()["recovery_codes"][9])
    assert (old.status_code, new.status_code) == (401, 200)
    assert [each.count for each in await events(ada.gateway, RecoveryCodesMade)] == [10, 10]


async def test_recovery_codes_of_another_are_worthless(ada: Person) -> None:
    bob = await person(ada.gateway, BOB)
    await bob.enrol()
    assert (await bob.finish(await bob.begin(), recovery_code=ada.codes[0])).status_code == 401


async def test_there_are_no_recovery_codes_without_a_factor(gateway: Gateway) -> None:
    ada = await person(gateway)
    assert (await ada.ask("POST", "/v1/me/recovery-codes")).status_code == 409


async def test_factors_have_names_and_tell_when_they_were_used(
    ada: Person, clock: VirtualClock
) -> None:
    clock.advance(minutes=1)
    assert (await ada.enrol_passkey(Authenticator())).status_code == 201
    listed = (await ada.ask("GET", "/v1/me/factors")).json()
    assert [(each["kind"], each["name"]) for each in listed["items"]] == [
        ("totp", "phone"),
        ("passkey", "laptop"),
    ]
    assert listed["items"][1]["last_used_at"] is None
    assert listed["recovery_codes_left"] == 10
    twice = await ada.ask("POST", "/v1/me/factors/totp", {"name": "phone"})
    assert twice.status_code == 409


async def test_there_is_an_end_to_how_many_factors_one_has(ada: Person) -> None:
    for n in range(9):
        assert (await ada.enrol_passkey(Authenticator(), f"key {n}")).status_code == 201
    assert (await ada.enrol_passkey(Authenticator(), "one more")).status_code == 409


async def test_with_the_last_factor_the_recovery_codes_go(ada: Person, box: Postbox) -> None:
    await deliver(ada.gateway)
    gone = await ada.ask("DELETE", f"/v1/me/factors/{ada.factor_id}")
    assert gone.status_code == 204
    await ada.renew()
    assert (await ada.ask("GET", "/v1/me/factors")).json() == {
        "items": [],
        "recovery_codes_left": 0,
    }
    await log_in(ada.gateway)
    await deliver(ada.gateway)
    assert "was removed" in box.letters[-1].text
    [removed] = await events(ada.gateway, FactorRemoved)
    assert removed.left == 0


async def test_nobody_removes_the_factor_of_another(ada: Person) -> None:
    bob = await person(ada.gateway, BOB)
    answer = await bob.ask("DELETE", f"/v1/me/factors/{ada.factor_id}")
    assert answer.status_code == 404
    await ada.begin()


async def test_an_admin_of_the_platform_resets_the_factors_of_who_lost_them(
    ada: Person, box: Postbox
) -> None:
    await deliver(ada.gateway)
    half = await ada.begin()
    root = await person(ada.gateway, "root@example.org", {}, is_admin=True)
    gone = await root.ask("DELETE", f"/v1/users/{ada.id}/factors")
    assert gone.status_code == 204, gone.text
    assert (await ada.ask("GET", "/v1/me")).status_code == 401
    assert (await ada.finish(half, code=ada.code())).status_code == 401
    await log_in(ada.gateway)
    await deliver(ada.gateway)
    assert "An admin has removed all second factors" in box.letters[-1].text
    reset = next(
        each for each in await said(ada.gateway.database) if isinstance(each.data, FactorsReset)
    )
    assert (reset.actor, reset.subject) == (f"user:{root.id}", str(ada.id))


async def test_nobody_else_resets_factors(ada: Person) -> None:
    bob = await person(ada.gateway, BOB)
    assert (await bob.ask("DELETE", f"/v1/users/{ada.id}/factors")).status_code == 403
    await ada.begin()


async def test_what_was_asked_for_and_never_answered_is_forgotten(
    ada: Person, clock: VirtualClock
) -> None:
    await ada.begin()
    await post(ada.gateway, "/v1/auth/passkey/options")
    clock.advance(minutes=6)
    await ada.gateway.identity.tidy()
    async with ada.gateway.database.reading() as session:
        assert (await session.execute(select(CHALLENGES))).all() == []
