"""Header fields: what every answer carries, and what no request gets through with."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from chassis import protocol
from services.gateway.context import Gateway
from services.gateway.settings import GatewaySettings
from tests.security.served import Served, request, served, status
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.world import ADMIN_KEY, Clients

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
ORIGIN = "https://console.example.org"
KEY = f"X-API-Key: {ADMIN_KEY}"


@pytest.fixture
async def listening(gateway: Gateway) -> AsyncGenerator[Served]:
    async with served(gateway) as where:
        yield where


async def test_every_answer_says_what_browsers_may_not_do(clients: Clients) -> None:
    answers = [
        await clients.viewer.get("/v1"),
        await clients.nobody.get("/v1/vms"),
        await clients.nobody.get("/v1/nothing"),
        await clients.nobody.get("/healthz"),
        await clients.nobody.put("/v1/vms"),
        await clients.nobody.options("/v1/vms"),
        await clients.viewer.post("/v1/vms", content=b"x" * 600_000),
        await clients.nobody.get("/v1/../vms"),
    ]
    assert [each.status_code for each in answers] == [200, 401, 404, 200, 405, 204, 413, 404]
    for each in answers:
        assert {name: each.headers.get(name) for name in ALWAYS} == ALWAYS, each.request.url
        assert "Server" not in each.headers
        assert "Strict-Transport-Security" not in each.headers


async def test_over_https_browsers_are_told_to_keep_to_it(new_gateway: NewGateway) -> None:
    gateway = await new_gateway(trusted_proxies=["127.0.0.1"])
    async with client(gateway, ADMIN_KEY) as caller:
        https = await caller.get("/v1", headers={"X-Forwarded-Proto": "https"})
        http = await caller.get("/v1")
    assert https.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Strict-Transport-Security" not in http.headers


async def test_pages_of_other_origins_may_call_only_where_they_are_named(
    new_gateway: NewGateway,
) -> None:
    preflight = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key,content-type",
    }
    shut, opened = await new_gateway(), await new_gateway(cors_origins=[ORIGIN])
    async with client(shut, ADMIN_KEY) as caller:
        for answer in (
            await caller.options("/v1/vms", headers=preflight),
            await caller.get("/v1", headers={"Origin": ORIGIN}),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control")]
    async with client(opened, ADMIN_KEY) as caller:
        answer = await caller.options("/v1/vms", headers=preflight)
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "X-API-Key" in answer.headers["Access-Control-Allow-Headers"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        refused = await caller.options("/v1/vms", headers={**preflight, "Origin": "https://evil"})
        assert "Access-Control-Allow-Origin" not in refused.headers
        for path, code in (("/v1", 200), ("/v1/../x", 404), ("/v1/vms/x", 400)):
            seen = await caller.get(path, headers={"Origin": ORIGIN})
            assert (seen.status_code, seen.headers["Access-Control-Allow-Origin"]) == (code, ORIGIN)
            assert "Access-Control-Allow-Credentials" not in seen.headers
            shown = seen.headers["Access-Control-Expose-Headers"].split(", ")
            # A page has to see what a 401 asks for: a second factor, a signature.
            assert {"WWW-Authenticate", "Accept-Signature"} <= set(shown)
        stranger = await caller.get("/v1", headers={"Origin": f"{ORIGIN}.evil"})
        assert "Access-Control-Allow-Origin" not in stranger.headers


@pytest.mark.parametrize("origin", ["*", "null", f"{ORIGIN}/path", "https://a b", "ftp://x", ""])
def test_settings_refuse_what_is_no_origin(origin: str) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings.model_validate({"cors_origins": [origin]})


async def test_too_many_or_too_long_header_fields_are_a_431(clients: Clients) -> None:
    many = {f"X-{n}": "1" for n in range(200)}
    long = {"X-Long": "x" * 40_000}
    for headers in (many, long):
        answer = await clients.viewer.get("/v1", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")
    answer = await clients.viewer.get("/v1/vms", params={"name": "x" * 9000})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "name", ["Host", "X-API-Key", "Content-Type", "Idempotency-Key", "Authorization"]
)
async def test_a_field_that_may_be_once_is_refused_twice(gateway: Gateway, name: str) -> None:
    async with client(gateway, "") as caller:
        headers = [("X-API-Key", ADMIN_KEY), (name, "one"), (name.lower(), "two")]
        answer = await caller.get("/v1", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


TRICKS = [
    "/v1//vms",
    "//evil.example.org/v1/vms",
    "/v1/../metrics",
    "/v1/./vms",
    "/v1/..",
    "/v1/%2e%2e/metrics",
    "/v1/vms/..%2f..%2fmetrics",
    "/v1/vms%2Fimport",
    "/v1/vms/..%5cmetrics",
    "/v1\\vms",
]


@pytest.mark.parametrize("path", TRICKS)
async def test_paths_that_a_proxy_reads_otherwise_are_not_found(
    listening: Served, path: str
) -> None:
    answer = await listening.say(request(path, KEY))
    assert status(answer) in {400, 404}
    assert b'"items"' not in answer


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-Prefix: /v1/../../evil",
        "X-Forwarded-Prefix: //evil.example.org",
        "X-Forwarded-Host: evil.example.org",
        "X-Original-URL: /metrics",
        "X-Rewrite-URL: /metrics",
        "X-HTTP-Method-Override: DELETE",
        "X-Script-Name: /evil",
        "Forwarded: host=evil.example.org;proto=https",
    ],
)
async def test_no_header_moves_a_request_or_its_links(clients: Clients, header: str) -> None:
    name, _, value = header.partition(": ")
    answer = await clients.viewer.get("/v1/vms?limit=1", headers={name: value})
    assert answer.status_code == 200
    assert answer.json()["links"]["self"] == "/v1/vms?limit=1"
    assert "evil" not in answer.text + str(answer.headers)


INJECTIONS = [
    "a\r\nX-Injected: 1",
    "a\nX-Injected: 1",
    "a\rX-Injected: 1",
    "a\x00b",
    "a%0d%0aX-Injected:%201",
]


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize(
    "field", ["X-Openstack-Request-Id", "Prefer", "Idempotency-Key", "X-API-Key"]
)
async def test_nothing_that_is_sent_becomes_a_header_of_the_answer(
    listening: Served, field: str, text: str
) -> None:
    answer = await listening.say(request("/v1", KEY, f"{field}: {text}"))
    assert b"x-injected" not in answer.lower().split(b"\r\n\r\n")[0].replace(b"X-Injected: 1", b"")
    assert b"\r\nx-injected" not in answer.lower()


@pytest.mark.parametrize(
    "raw",
    [
        request(
            "/v1",
            KEY,
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
            method="POST",
            body=b"0\r\n\r\n",
        ),
        request("/v1", KEY, "Content-Length: 5", "Content-Length: 6", method="POST", body=b"hello"),
        request("/v1", KEY, "Content-Length: -1", method="POST"),
        request("/v1", KEY, "Content-Length: +5", method="POST", body=b"hello"),
        request("/v1", KEY, "Transfer-Encoding: xchunked", method="POST", body=b"0\r\n\r\n"),
        request("/v1", KEY, "Transfer-Encoding : chunked", method="POST", body=b"0\r\n\r\n"),
        request("/v1", KEY, "X-A: 1\r\n folded: 2"),
        request("/v1", KEY, "Bad Name: 1"),
        b"GET /v1 HTTP/1.1\nHost: gateway\n\n",
        b"GET /v1 HTTP/9.9\r\nHost: gateway\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=range(12),
)
async def test_what_two_parsers_might_read_differently_is_refused(
    listening: Served, raw: bytes
) -> None:
    answer = await listening.say(raw)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert status(answer) in {0, 400, 405}, answer


async def test_a_head_without_end_is_cut(
    listening: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = (b"GET /v1 HTTP/1.1\r\nX-Long: ", *[b"x" * 16_384] * 200)
    assert status(await listening.say(*endless)) in {0, 431}
    fields = (b"GET /v1 HTTP/1.1\r\n", *[b"X-Field: 1\r\n" * 1000] * 200)
    assert status(await listening.say(*fields)) in {0, 431}


async def test_a_head_that_never_ends_is_a_408(
    listening: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    assert status(await listening.say(b"GET /v1 HTTP/1.1\r\nHost: g")) == 408
    assert await listening.say(b"") == b""


async def test_a_connection_may_be_used_again_and_again(
    listening: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    again = request("/v1", KEY).replace(b"Connection: close\r\n", b"")
    head, rest = again[:30], again[30:]
    answer = await listening.say(again, head, rest, again, request("/v1", KEY))
    assert answer.count(b"HTTP/1.1 200 OK") == 4


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private


async def test_https_is_served_from_tls_1_2_on(
    new_gateway: NewGateway, certificate: tuple[Path, Path]
) -> None:
    gateway = await new_gateway(tls_certfile=certificate[0], tls_keyfile=certificate[1])
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    async with served(gateway) as where:
        async with httpx.AsyncClient(verify=trust) as caller:
            answer = await caller.get(
                f"https://localhost:{where.port}/v1", headers={"X-API-Key": ADMIN_KEY}
            )
        assert answer.status_code == 200
        assert answer.headers["Strict-Transport-Security"]
        old = ssl.create_default_context(cafile=str(certificate[0]))
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("localhost", where.port, ssl=old)


def test_a_key_without_a_certificate_is_refused(certificate: tuple[Path, Path]) -> None:
    with pytest.raises(ValidationError, match="HOSTLER_TLS_CERTFILE"):
        GatewaySettings.model_validate({"tls_keyfile": certificate[1]})


async def test_a_problem_is_json_whatever_it_quotes(clients: Clients) -> None:
    answer = await clients.viewer.get("/v1/vms", params={'"><script>': "1"})
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.text)["code"] == "invalid"
