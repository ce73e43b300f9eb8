"""Attacks on access tokens: what is not signed by a key of this deployment, for here and now, is nothing."""

import base64
import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from chassis.identity import Caller
from chassis.testing import VirtualClock
from contracts.identity import Role
from services.gateway.context import Gateway
from services.gateway.identity.signing import SigningKey
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.world import (
    ADA,
    CHEAP,
    bearer,
    deliver,
    log_in,
    make_user,
    nobody,
    postbox,
    refresh,
)


@pytest.fixture
async def gateway(new_gateway: NewGateway) -> Gateway:
    made = await new_gateway(password_memory=CHEAP)
    await make_user(made, ADA, {"demo": Role.ADMIN})
    return made


@pytest.fixture
async def signer(gateway: Gateway) -> SigningKey:
    return await gateway.identity.keyring.signer()


@pytest.fixture
async def token(gateway: Gateway, signer: SigningKey) -> str:
    return (await log_in(gateway))["access_token"]


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims, _ = token.split(".")
    return _read(header), _read(claims)


def _read(part: str) -> dict[str, Any]:
    return json.loads(base64.urlsafe_b64decode(part + "=="))


def _written(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(header: object, claims: object) -> str:
    return f"{_written(json.dumps(header).encode())}.{_written(json.dumps(claims).encode())}"


def signed(key: SigningKey | OKPKey, header: dict[str, Any], claims: dict[str, Any]) -> str:
    private = key.key if isinstance(key, SigningKey) else key
    return jwt.encode(header, claims, private, algorithms=["Ed25519"])


async def refuses(gateway: Gateway, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with nobody(gateway) as client:
        for path in ("/v1", "/v1/vms", "/v1/me", "/v1/users"):
            answer = await client.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), token


async def test_the_token_that_the_attacks_begin_with_is_good(gateway: Gateway, token: str) -> None:
    async with bearer(gateway, token) as client:
        assert (await client.get("/v1/vms")).status_code == 200


async def test_a_token_without_a_signature(gateway: Gateway, token: str) -> None:
    header, claims = parts(token)
    for alg in ("none", "None", "NONE", "nOnE", "", None):
        bare = unsigned({**header, "alg": alg}, claims)
        for end in (".", "", "." + token.split(".")[2]):
            await refuses(gateway, bare + end)


async def test_the_public_key_as_a_shared_secret(
    gateway: Gateway, token: str, signer: SigningKey
) -> None:
    header, claims = parts(token)
    public = signer.shown()
    raw = base64.urlsafe_b64decode(public["x"] + "=")
    pem = signer.key.as_pem(private=False)
    for alg, digest in (("HS256", "sha256"), ("HS512", "sha512")):
        text = unsigned({**header, "alg": alg}, claims)
        for secret in (raw, pem, public["x"].encode(), json.dumps(public).encode(), b""):
            mac = hmac.digest(secret, text.encode(), digest)
            await refuses(gateway, f"{text}.{_written(mac)}")


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/dev/null",
        "' OR '1'='1",
        "x'; DROP TABLE signing_keys; --",
        "unknown",
        "",
        None,
        0,
        [],
        {"a": 1},
        "\u0000",
        "x" * 5000,
        "http://127.0.0.1:1/key",
    ],
)
async def test_a_key_id_that_is_none(
    gateway: Gateway, token: str, signer: SigningKey, kid: object
) -> None:
    header, claims = parts(token)
    text = unsigned({**header, "kid": kid}, claims)
    await refuses(gateway, f"{text}.{token.split('.')[2]}")
    nothing = hmac.digest(b"", text.encode(), hashlib.sha256)
    await refuses(gateway, f"{text}.{_written(nothing)}")
    async with bearer(gateway, token) as client:
        assert (await client.get("/v1/vms")).status_code == 200


async def test_a_key_that_the_token_brings_with_it(gateway: Gateway, token: str) -> None:
    header, claims = parts(token)
    private = Ed25519PrivateKey.generate()
    mine = OKPKey.import_key(private.public_key())
    shown = mine.as_dict(private=False)
    jku = "http://127.0.0.1:1/jwks.json"
    for more in ({"jwk": shown}, {"jku": jku}, {"x5u": jku}, {"kid": mine.thumbprint()}):
        text = unsigned({**header, **more}, claims)
        await refuses(gateway, f"{text}.{_written(private.sign(text.encode()))}")


async def test_claims_that_were_changed(gateway: Gateway, token: str) -> None:
    header, claims = parts(token)
    for changed in ({"admin": True}, {"projects": {"other": "admin"}}, {"exp": 9999999999}):
        text = unsigned(header, {**claims, **changed})
        await refuses(gateway, f"{text}.{token.split('.')[2]}")


async def test_a_token_for_others_or_by_others(
    gateway: Gateway, token: str, signer: SigningKey
) -> None:
    header, claims = parts(token)
    wrong: list[dict[str, Any]] = [
        {"iss": "https://evil.example.org"},
        {"iss": ["http://127.0.0.1:8000"]},
        {"aud": "audit"},
        {"aud": ["hostler2"]},
        {"exp": int(gateway.clock().timestamp())},
        {"sid": "00000000-0000-0000-0000-000000000000"},
        {"sv": claims["sv"] + 1},
        {"sub": "not-an-id"},
    ]
    for each in wrong:
        await refuses(gateway, signed(signer, header, {**claims, **each}))
    for gone in ("iss", "aud", "exp", "sid", "sv", "sub", "projects", "admin"):
        less = {name: value for name, value in claims.items() if name != gone}
        await refuses(gateway, signed(signer, header, less))


async def test_tokens_of_other_kinds_that_the_same_deployment_signs(
    gateway: Gateway, token: str, signer: SigningKey
) -> None:
    header, claims = parts(token)
    for kind in ("JWT", "link+jwt", "", "at+JWT2"):
        await refuses(gateway, signed(signer, {**header, "typ": kind}, claims))
    caller = Caller("key:x", "demo", Role.ADMIN)
    await refuses(gateway, gateway.vouching.sign(caller, "hostler", gateway.clock()))
    box = postbox(gateway)
    async with nobody(gateway) as client:
        await client.post("/v1/auth/forgot", json={"email": ADA})
    await deliver(gateway)
    await refuses(gateway, box.token())
    await refuses(gateway, (await log_in(gateway))["refresh_token"])


async def test_a_token_of_another_deployment(gateway: Gateway, new_gateway: NewGateway) -> None:
    tokens = await log_in(gateway)
    elsewhere = await new_gateway(password_memory=CHEAP, public_url="https://b.example.org")
    await refuses(elsewhere, tokens["access_token"])


async def test_an_expired_token_also_one_that_was_known_before(
    gateway: Gateway, token: str, clock: VirtualClock
) -> None:
    async with bearer(gateway, token) as client:
        assert (await client.get("/v1")).status_code == 200
    clock.advance(minutes=10)
    await refuses(gateway, token)


async def test_what_is_no_token_at_all(gateway: Gateway) -> None:
    for text in ("a", "a.b", "a.b.c", "....", "e30.e30.", "A" * 9000, "%00", "null", "e30.e30.e30"):
        await refuses(gateway, text)
    async with nobody(gateway) as client:
        for raw in (b"Bearer \xff\xfe", b"bearer", b"Bearer  a b", b"BEARER x", b""):
            answer = await client.get("/v1", headers=[(b"Authorization", raw)])
            assert answer.status_code == 401, raw


async def test_unknown_keys_are_not_looked_for_at_every_request(
    gateway: Gateway, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    read = gateway.identity.keyring.read

    async def counted() -> None:
        looked.append(1)
        await read()

    monkeypatch.setattr(gateway.identity.keyring, "read", counted)
    header, claims = parts(token)
    for n in range(20):
        text = unsigned({**header, "kid": f"k{n}"}, claims)
        await refuses(gateway, f"{text}.{token.split('.')[2]}")
    assert len(looked) <= 1


async def test_a_refresh_token_that_is_replayed_by_whoever_copied_it(
    gateway: Gateway, clock: VirtualClock
) -> None:
    copied = await log_in(gateway)
    owners = (await refresh(gateway, copied)).json()
    clock.advance(minutes=1)
    assert (await refresh(gateway, copied)).status_code == 401
    await refuses(gateway, owners["access_token"])
    assert (await refresh(gateway, owners)).status_code == 401
    for made_up in ("hr_" + "A" * 43, "", "hr_", owners["access_token"], "x" * 1000):
        answer = await refresh(gateway, {"refresh_token": made_up})
        assert answer.status_code in {400, 401}


async def test_an_access_token_in_the_address_is_not_looked_at(
    gateway: Gateway, token: str
) -> None:
    async with nobody(gateway) as client:
        for name in ("access_token", "token", "api_key"):
            answer: httpx.Response = await client.get(f"/v1/me?{name}={token}")
            assert answer.status_code in {400, 401}


async def test_an_hmac_token_by_a_guessed_secret_is_no_link(gateway: Gateway) -> None:
    claims = {"iss": "http://127.0.0.1:8000", "aud": "password", "jti": "x", "exp": 9999999999}
    forged = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key("s" * 32))
    async with nobody(gateway) as client:
        body = {"token": forged, "password": "kettle-otter-sunday-19"}
        assert (await client.post("/v1/auth/password", json=body)).status_code == 400
