"""Attacks on second factors: tokens for another purpose, answers to other questions, for others, from elsewhere."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from chassis.testing import VirtualClock, said
from contracts.access.identity import FactorFailed
from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.sealing import derive
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.authenticator import (
    PRESENT,
    VERIFIED,
    Authenticator,
    read,
    written,
)
from tests.unit.gateway.identity.second import Person, passkey_login, person, post
from tests.unit.gateway.identity.world import ADA, BOB, CHEAP, bearer, deliver, postbox

SECRET = "s" * 32


@pytest.fixture
async def gateway(new_gateway: NewGateway) -> Gateway:
    return await new_gateway(password_memory=CHEAP)


@pytest.fixture
async def ada(gateway: Gateway) -> Person:
    made = await person(gateway)
    await made.enrol(steps=-1)
    return made


@pytest.fixture
async def key(ada: Person) -> Authenticator:
    made = Authenticator()
    assert (await ada.enrol_passkey(made)).status_code == 201
    return made


async def refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), answer.text


def claims(token: str) -> dict[str, Any]:
    return json.loads(read(token.split(".")[1]))


def signed(key: bytes, claims: dict[str, Any], **header: str) -> str:
    fields = {"alg": "HS256", "typ": "mfa+jwt"} | header
    return jwt.encode(fields, claims, OctKey.import_key(key), algorithms=["HS256"])


async def test_half_a_login_is_no_access_token(ada: Person) -> None:
    half = (await ada.begin())["mfa_token"]
    async with bearer(ada.gateway, half) as client:
        for path in ("/v1", "/v1/vms", "/v1/me", "/v1/me/factors", "/v1/me/sessions"):
            await refused(await client.get(path))
        await refused(await client.post("/v1/auth/step-up", json={"code": ada.code()}))


async def test_half_a_login_is_no_refresh_token_and_no_link(ada: Person) -> None:
    half = (await ada.begin())["mfa_token"]
    await refused(await post(ada.gateway, "/v1/auth/refresh", refresh_token=half))
    body = {"token": half, "password": "velvet-anchor-monday-77"}
    assert (await post(ada.gateway, "/v1/auth/password", **body)).status_code == 400


async def test_no_other_token_is_half_a_login(ada: Person) -> None:
    box = postbox(ada.gateway)
    await post(ada.gateway, "/v1/auth/forgot", email=ADA)
    await deliver(ada.gateway)
    others = (ada.tokens["access_token"], ada.tokens["refresh_token"], box.token(), "x", "a.b.c")
    for token in others:
        await refused(await ada.finish(token, code=ada.code()))


async def test_half_a_login_that_was_made_up_changed_or_signed_by_another_key(
    ada: Person,
) -> None:
    good = (await ada.begin())["mfa_token"]
    bob = await person(ada.gateway, BOB)
    said_so, own = claims(good), derive(SECRET, "half logins")
    head, body, _ = good.split(".")
    none = written(json.dumps({"alg": "none", "typ": "mfa+jwt"}).encode())
    forged = [
        f"{none}.{body}.",
        f"{head}.{body}.",
        signed(derive(SECRET, "links"), said_so),
        signed(SECRET.encode(), said_so),
        signed(own, said_so | {"aud": "hostler"}),
        signed(own, said_so | {"iss": "https://elsewhere.example.org"}),
        signed(own, said_so | {"exp": 1}),
        signed(own, said_so | {"sub": str(bob.id)}),
        signed(own, said_so | {"jti": "00" * 32}),
        signed(own, said_so | {"jti": "x"}),
        signed(own, said_so | {"sv": 99}),
        signed(own, said_so, typ="at+jwt"),
        signed(own, {name: value for name, value in said_so.items() if name != "exp"}),
    ]
    for token in forged:
        await refused(await ada.finish(token, recovery_code=ada.codes[0]))
    code = next(each for each in reversed(ada.codes))
    assert (await ada.finish(good, recovery_code=code)).status_code == 200


async def test_the_second_factor_of_another_finishes_no_login(ada: Person) -> None:
    bob = await person(ada.gateway, BOB)
    await bob.enrol(steps=-1)
    half = await ada.begin()
    await refused(await bob.finish(half, code=bob.code()))
    await refused(await bob.finish(half, recovery_code=bob.codes[0]))


@pytest.mark.parametrize(
    "proof",
    [
        {},
        {"code": "123456", "recovery_code": "abcd"},
        {"code": "12345"},
        {"code": "1234567"},
        {"code": "\uff11\uff12\uff13\uff14\uff15\uff16"},
        {"code": 123456},
        {"code": "123456\n"},
        {"code": "123456", "password": "x"},
        {"code": "123456", "amr": ["mfa"]},
        {"code": "123456", "user_id": "x"},
        {"recovery_code": "x" * 65},
        {"passkey": "x"},
        {"passkey": []},
    ],
)
async def test_proofs_that_are_none_or_bring_more_along(
    ada: Person, proof: dict[str, object]
) -> None:
    answer = await ada.finish("x", **proof)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


async def test_a_token_that_does_not_say_how_its_user_came_is_not_fresh(ada: Person) -> None:
    signer = await ada.gateway.identity.keyring.signer()
    said_so = claims(ada.tokens["access_token"])
    header = {"alg": "Ed25519", "typ": "at+jwt", "kid": signer.id}
    for missing in ("amr", "auth_time"):
        rest = {name: value for name, value in said_so.items() if name != missing}
        ada.tokens["access_token"] = jwt.encode(header, rest, signer.key, algorithms=["Ed25519"])
        answer = await ada.ask("POST", "/v1/api-keys", {"name": "x", "role": "viewer"})
        assert (answer.status_code, answer.json()["code"]) == (401, "step_up_required")


HOSTILE: dict[str, Callable[[Authenticator], object]] = {
    "from another page": lambda key: setattr(key, "origin", "http://127.0.0.1:8001"),
    "from a page that looks alike": lambda key: setattr(
        key, "origin", "http://127.0.0.1:8000.example.org"
    ),
    "over another scheme": lambda key: setattr(key, "origin", "https://127.0.0.1:8000"),
    "from a page within another's": lambda key: setattr(key, "cross_origin", True),
    "for another domain": lambda key: setattr(key, "rp_id", "example.org"),
    "not unlocked": lambda key: setattr(key, "flags", PRESENT),
    "nobody there": lambda key: setattr(key, "flags", VERIFIED),
    "by another key": lambda key: setattr(key, "key", Authenticator().key),
    "by an unknown key": lambda key: setattr(key, "id", b"unknown"),
    "for another user": lambda key: setattr(key, "user", bytes(16)),
    "for nobody": lambda key: setattr(key, "user", b""),
}


@pytest.mark.parametrize("how", HOSTILE)
async def test_an_answer_that_is_not_quite_the_users_opens_nothing(
    ada: Person, key: Authenticator, how: str
) -> None:
    HOSTILE[how](key)
    await refused(await passkey_login(ada.gateway, key))


@pytest.mark.parametrize("how", list(HOSTILE)[:7])
async def test_a_passkey_that_was_made_so_is_not_enrolled(ada: Person, how: str) -> None:
    key = Authenticator()
    HOSTILE[how](key)
    answer = await ada.enrol_passkey(key)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


async def test_an_answer_is_good_once(ada: Person, key: Authenticator) -> None:
    options = (await post(ada.gateway, "/v1/auth/passkey/options")).json()["options"]
    answer = key.get(options)
    assert (await post(ada.gateway, "/v1/auth/passkey", passkey=answer)).status_code == 200
    await refused(await post(ada.gateway, "/v1/auth/passkey", passkey=answer))


async def test_a_question_is_used_up_by_a_wrong_answer(ada: Person, key: Authenticator) -> None:
    options = (await post(ada.gateway, "/v1/auth/passkey/options")).json()["options"]
    wrong = Authenticator(id=key.id, user=key.user)
    await refused(await post(ada.gateway, "/v1/auth/passkey", passkey=wrong.get(options)))
    await refused(await post(ada.gateway, "/v1/auth/passkey", passkey=key.get(options)))


async def test_a_question_that_nobody_asked(ada: Person, key: Authenticator) -> None:
    options = {"rpId": "127.0.0.1", "challenge": written(bytes(32))}
    await refused(await post(ada.gateway, "/v1/auth/passkey", passkey=key.get(options)))


async def test_a_question_for_another_purpose_or_another_user(
    ada: Person, key: Authenticator
) -> None:
    bob, theirs = await person(ada.gateway, BOB), Authenticator()
    assert (await bob.enrol_passkey(theirs)).status_code == 201
    any_login = (await post(ada.gateway, "/v1/auth/passkey/options")).json()["options"]
    step_up = (await ada.ask("POST", "/v1/auth/step-up/options")).json()["options"]
    half, bobs = await ada.begin(), await bob.begin()
    path = "/v1/auth/second-factor/options"
    second = (await post(ada.gateway, path, mfa_token=bobs["mfa_token"])).json()["options"]
    for options in (any_login, step_up, second):
        await refused(await ada.finish(half, passkey=key.get(options)))
    step_up = (await ada.ask("POST", "/v1/auth/step-up/options")).json()["options"]
    await refused(await post(ada.gateway, "/v1/auth/passkey", passkey=key.get(step_up)))


async def test_the_passkey_of_another_finishes_no_login(ada: Person, key: Authenticator) -> None:
    bob, theirs = await person(ada.gateway, BOB), Authenticator()
    assert (await bob.enrol_passkey(theirs)).status_code == 201
    half = await ada.begin()
    path = "/v1/auth/second-factor/options"
    options = (await post(ada.gateway, path, mfa_token=half["mfa_token"])).json()["options"]
    theirs.user = ada.id.bytes
    await refused(await ada.finish(half, passkey=theirs.get(options)))


async def test_the_passkey_of_another_is_not_enrolled_again(
    ada: Person, key: Authenticator
) -> None:
    bob = await person(ada.gateway, BOB)
    assert (await bob.enrol_passkey(Authenticator(id=key.id))).status_code == 409
    assert (await passkey_login(ada.gateway, key)).status_code == 200


async def test_a_copy_shows_by_its_counter(ada: Person, key: Authenticator) -> None:
    copy = Authenticator(id=key.id, key=key.key, user=key.user)
    for _ in range(2):
        assert (await passkey_login(ada.gateway, key)).status_code == 200
    await refused(await passkey_login(ada.gateway, copy))
    half = await ada.begin()
    path = "/v1/auth/second-factor/options"
    options = (await post(ada.gateway, path, mfa_token=half["mfa_token"])).json()["options"]
    await refused(await ada.finish(half, passkey=copy.get(options)))
    told = [each.data for each in await said(ada.gateway.database)]
    assert [each.why for each in told if isinstance(each, FactorFailed)] == ["copied"] * 2


def spoiled(answer: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    return answer | {"response": answer["response"] | {name: value}}


async def test_answers_that_cannot_be_read_are_refused_and_nothing_breaks(
    ada: Person, key: Authenticator
) -> None:
    junk: list[object] = [
        "",
        "!",
        "A",
        "=",
        "gA",
        7,
        None,
        [],
        {},
        "A" * 5000,
        "é",
        written(b"\xff" * 90),
    ]
    deep = written(b'{"challenge":' + b"[" * 20000)
    options = (await post(ada.gateway, "/v1/auth/passkey/options")).json()["options"]
    good = key.get(options)
    client = base64.urlsafe_b64decode(good["response"]["clientDataJSON"] + "==")
    typed = written(json.dumps(json.loads(client) | {"challenge": 7}).encode())
    for name in ("clientDataJSON", "authenticatorData", "signature", "userHandle"):
        for value in [*junk, deep, typed]:
            if name == "userHandle" and value is None:
                continue
            fresh = (await post(ada.gateway, "/v1/auth/passkey/options")).json()["options"]
            answer = spoiled(key.get(fresh), name, value)
            assert (
                await post(ada.gateway, "/v1/auth/passkey", passkey=answer)
            ).status_code == 401, (name, value)
    bare: list[dict[str, object]] = [{}, {"id": 7}, {"id": good["id"], "response": []}]
    for answer in [*bare, {**good, "type": "x"}, {**good, "id": "é"}]:
        assert (await post(ada.gateway, "/v1/auth/passkey", passkey=answer)).status_code == 401


async def test_registrations_that_cannot_be_read_are_refused_and_nothing_breaks(
    ada: Person,
) -> None:
    junk = [
        "",
        "!",
        "gA",
        7,
        None,
        written(b"\xbf" * 90),
        written(b"\xa0"),
        written(b"\x5b" + b"\xff" * 8),
    ]
    for name in ("clientDataJSON", "attestationObject"):
        for value in junk:
            asked = await ada.ask("POST", "/v1/me/factors/passkey/options")
            made = Authenticator().create(asked.json()["options"])
            body = {"name": "junk", "passkey": spoiled(made, name, value)}
            answer = await ada.ask("POST", "/v1/me/factors/passkey", body)
            assert answer.status_code == 400, (name, value)


async def test_a_stolen_session_cannot_replace_the_factor(ada: Person, clock: VirtualClock) -> None:
    clock.advance(minutes=6)
    for method, path, body in (
        ("POST", "/v1/me/factors/totp", {"name": "mine"}),
        ("DELETE", f"/v1/me/factors/{ada.factor_id}", None),
    ):
        assert (await ada.ask(method, path, body)).status_code == 401


async def test_an_admin_of_a_project_resets_nobodys_factors(ada: Person) -> None:
    bob = await person(ada.gateway, BOB, {"demo": Role.ADMIN})
    assert (await bob.ask("DELETE", f"/v1/users/{ada.id}/factors")).status_code == 403
    await ada.begin()
