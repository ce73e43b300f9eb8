"""Signed requests are taken for what was signed, once; whatever else comes is refused."""

import base64
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures.algorithms import (
    ED25519,  # pyright: ignore[reportPrivateImportUsage] - the documented name
    HMAC_SHA256,  # pyright: ignore[reportPrivateImportUsage]
    HTTPSignatureAlgorithm,  # pyright: ignore[reportPrivateImportUsage]
)
from http_message_signatures.resolvers import MappingKeyResolver, SigningKey
from http_message_signatures.signatures import HTTPMessageSigner
from sqlalchemy import func, select

from chassis.identity import Caller
from chassis.testing import VirtualClock, said
from contracts.access.events import Refused, RequestKeyRegistered, RequestKeyRevoked
from contracts.identity import Role
from hostler_client.signing import BOUND, COMPONENTS, TAG, Signing
from services.gateway.context import Gateway
from services.gateway.identity import signatures
from services.gateway.identity.request_keys import SIGNATURE_NONCES
from services.gateway.tidy import Tidy
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.identity.world import ADA, BOB, CHEAP, bearer, log_in, make_user
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, CREATE, hear_catalog

POLICY = ["vm.create", "vm.delete", "api_key.*"]
NONCE = "n" * 24


@dataclass(frozen=True)
class Signer:
    """An admin of `demo` with a registered key."""

    gateway: Gateway
    caller: httpx.AsyncClient
    signing: Signing
    key_id: str
    key: Ed25519PrivateKey
    clock: VirtualClock

    def create(self, **headers: str) -> httpx.Request:
        """A create that is not signed yet."""
        return self.caller.build_request("POST", "/v1/vms", json=CREATE, headers=headers)

    def signed(self, request: httpx.Request | None = None) -> httpx.Request:
        request = request or self.create()
        self.signing.sign(request)
        return request

    def by_hand(
        self,
        request: httpx.Request,
        *,
        components: Sequence[str] = (*COMPONENTS, "content-type"),
        algorithm: type[HTTPSignatureAlgorithm] = ED25519,
        key: SigningKey | None = None,
        age: timedelta = timedelta(0),
        lives: timedelta | None = None,
        **params: str | bool | None,
    ) -> httpx.Request:
        """Sign with anything that may be wrong about it."""
        used = {self.key_id: key or self.key}
        created = self.clock() - age
        HTTPMessageSigner(
            signature_algorithm=algorithm,
            key_resolver=MappingKeyResolver(public_keys={}, private_keys=used),
        ).sign(  # pyright: ignore[reportUnknownMemberType] - `message` has no type
            request,
            **{  # pyright: ignore[reportArgumentType] - each test's own
                "key_id": self.key_id,
                "created": created,
                "expires": created + lives if lives else None,
                "nonce": NONCE,
                "tag": TAG,
                "label": "any",
                "covered_component_ids": components,
                "body": request.content,
                **params,
            },
        )
        return request

    async def refused(self, request: httpx.Request) -> str:
        """The detail of the 401 that answers the request."""
        answer = await self.caller.send(request)
        assert answer.status_code == 401, answer.text
        assert answer.json()["code"] == "signature_invalid"
        assert f'tag="{TAG}"' in answer.headers["Accept-Signature"]
        assert answer.headers["WWW-Authenticate"]
        return answer.json()["detail"]

    async def accepted(self, request: httpx.Request) -> httpx.Response:
        answer = await self.caller.send(request)
        assert answer.status_code == 202, answer.text
        return answer


@pytest.fixture
async def signer(new_gateway: NewGateway, clock: VirtualClock) -> AsyncGenerator[Signer]:
    gateway = await new_gateway(signed_permissions=POLICY)
    await hear_catalog(gateway, *CATALOG)
    key = Ed25519PrivateKey.generate()
    async with client(gateway, ADMIN_KEY) as caller:
        made = await caller.post("/v1/signing-keys", json=ed25519("laptop", key))
        assert made.status_code == 201, made.text
        key_id = made.json()["id"]
        yield Signer(gateway, caller, Signing(key_id, key, clock), key_id, key, clock)


def ed25519(name: str, key: Ed25519PrivateKey, **more: str) -> dict[str, str]:
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    return {"name": name, "algorithm": "ed25519", "public_key": public, **more}


def test_the_client_and_the_gateway_agree_on_what_is_signed() -> None:
    assert (COMPONENTS, BOUND, TAG) == (signatures.COMPONENTS, signatures.BOUND, signatures.TAG)


async def test_a_signed_request_is_taken(signer: Signer) -> None:
    await signer.accepted(signer.signed())
    await signer.accepted(signer.signed(signer.create(**{"Idempotency-Key": "once"})))
    query = signer.caller.build_request("GET", "/v1/vms?limit=1&name=a%20b%2Fc")
    assert (await signer.caller.send(signer.signed(query))).status_code == 200
    head = signer.caller.build_request("HEAD", "/v1/vms")
    assert (await signer.caller.send(signer.signed(head))).status_code == 200


async def test_the_helper_signs_whatever_its_client_sends(signer: Signer) -> None:
    for _ in range(2):
        answer = await signer.caller.post("/v1/vms", json=CREATE, auth=signer.signing)
        assert answer.status_code == 202, answer.text


async def test_what_asks_for_a_signature_is_refused_without_one(signer: Signer) -> None:
    assert "vm.create" in await signer.refused(signer.create())
    key = signer.caller.build_request("POST", "/v1/api-keys", json={"name": "x", "role": "viewer"})
    assert "api_key.manage" in await signer.refused(key)
    assert (await signer.caller.get("/v1/vms")).status_code == 200


async def test_admins_of_the_platform_sign_what_the_policy_says_too(
    new_gateway: NewGateway, clock: VirtualClock
) -> None:
    platform = ["user.manage", "factor.reset", "token_key.make"]
    gateway = await new_gateway(password_memory=CHEAP, signed_permissions=platform)
    bob = await make_user(gateway, BOB)
    await make_user(gateway, ADA, {"demo": Role.ADMIN}, is_admin=True)
    key = Ed25519PrivateKey.generate()
    async with bearer(gateway, await log_in(gateway, ADA), "demo") as root:
        made = await root.post("/v1/signing-keys", json=ed25519("mine", key))
        assert made.status_code == 201, made.text
        signing = Signing(made.json()["id"], key, clock)
        wanted: list[tuple[str, str, dict[str, str] | None]] = [
            ("PATCH", f"/v1/users/{bob}", {"name": "Bob"}),
            ("DELETE", f"/v1/users/{bob}/factors", None),
            ("POST", "/v1/auth/token-keys", {}),
        ]
        for method, path, said_ in wanted:
            refused = await root.request(method, path, json=said_)
            assert (refused.status_code, refused.json()["code"]) == (401, "signature_invalid"), path
            request = root.build_request(method, path, json=said_)
            signing.sign(request)
            assert (await root.send(request)).is_success, path


async def test_each_refusal_is_told(signer: Signer) -> None:
    await said(signer.gateway.database)
    await signer.refused(signer.by_hand(signer.create(), age=timedelta(hours=1)))
    told = [each.data for each in await said(signer.gateway.database)]
    assert [each.permission for each in told if isinstance(each, Refused)] == ["signature"]


async def test_a_replay_is_refused_by_every_gateway(
    signer: Signer, new_gateway: NewGateway
) -> None:
    other = await new_gateway(signed_permissions=POLICY)
    request = signer.signed()
    await signer.accepted(request)
    assert "nonce" in await signer.refused(request)
    async with client(other, ADMIN_KEY) as there:
        answer = await there.send(request)
    assert (answer.status_code, answer.json()["code"]) == (401, "signature_invalid")


async def test_a_nonce_is_kept_for_as_long_as_its_signature_holds(signer: Signer) -> None:
    request = signer.by_hand(signer.create(), age=timedelta(seconds=-29))
    await signer.accepted(request)
    day = timedelta(days=1)
    tidy = Tidy(signer.gateway.database, signer.clock, day, day)
    for minutes in (2, 2, 1):
        signer.clock.advance(minutes=minutes)
        await tidy.forget()
        await signer.refused(request)
    signer.clock.advance(minutes=5)
    await tidy.forget()
    assert await nonces(signer) == 0
    assert "too old" in await signer.refused(request)


async def nonces(signer: Signer) -> int:
    async with signer.gateway.database.reading() as session:
        return await session.scalar(select(func.count()).select_from(SIGNATURE_NONCES)) or 0


async def test_only_a_signature_that_holds_uses_its_nonce_up(signer: Signer) -> None:
    other = signer.by_hand(signer.create(), key=Ed25519PrivateKey.generate())
    await signer.refused(other)
    await signer.accepted(signer.by_hand(signer.create()))


async def test_a_signature_holds_for_its_time_only(signer: Signer) -> None:
    await signer.accepted(signer.by_hand(signer.create(), age=timedelta(minutes=5), nonce="a" * 16))
    old = signer.by_hand(signer.create(), age=timedelta(minutes=6))
    assert "too old" in await signer.refused(old)
    early = signer.by_hand(signer.create(), age=timedelta(minutes=-1))
    assert "future" in await signer.refused(early)
    over = signer.by_hand(signer.create(), age=timedelta(minutes=2), lives=timedelta(minutes=1))
    assert "expired" in await signer.refused(over)


def with_body(request: httpx.Request) -> httpx.Request:
    body = request.content.replace(b"web-1", b"web-2")
    return altered(request, content=body)


def with_body_and_digest(request: httpx.Request) -> httpx.Request:
    made = with_body(request)
    digest = base64.b64encode(hashlib.sha256(made.content).digest()).decode()
    made.headers["Content-Digest"] = f"sha-256=:{digest}:"
    return made


def altered(
    request: httpx.Request,
    *,
    method: str | None = None,
    url: str | None = None,
    content: bytes | None = None,
    drop: str = "",
    **headers: str,
) -> httpx.Request:
    kept = {k: v for k, v in request.headers.items() if k not in {drop, "content-length"}}
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Request(
        method or request.method,
        url or request.url,
        headers=kept | more,
        content=request.content if content is None else content,
    )


ALTERATIONS: dict[str, Callable[[httpx.Request], httpx.Request]] = {
    "its body": with_body,
    "its body and digest": with_body_and_digest,
    "no body": lambda r: altered(r, content=b""),
    "no digest": lambda r: altered(r, drop="content-digest"),
    "its method": lambda r: altered(r, method="GET"),
    "its path": lambda r: altered(r, url="http://gateway/v1/vms/import"),
    "its path, spelt otherwise": lambda r: altered(r, url="http://gateway/v1/%76ms"),
    "a query": lambda r: altered(r, url="http://gateway/v1/vms?dry_run=false"),
    "another idempotency key": lambda r: altered(r, idempotency_key="another"),
    "a precondition": lambda r: altered(r, if_match='"1"'),
    "its media type": lambda r: altered(r, content_type="application/merge-patch+json"),
    "another project": lambda r: altered(r, x_project_id="demo"),
    "no signature": lambda r: altered(r, drop="signature"),
    "an empty signature": lambda r: altered(r, signature=f"{TAG}=::"),
    "half a signature": lambda r: altered(r, signature=r.headers["signature"][:40] + "=:"),
    "another label": lambda r: altered(r, signature=r.headers["signature"].replace(TAG, "other")),
    "another time": lambda r: altered(
        r, signature_input=r.headers["signature-input"].replace("created=1", "created=2")
    ),
    "another nonce": lambda r: altered(
        r, signature_input=r.headers["signature-input"].replace('nonce="', 'nonce="x')
    ),
    "another algorithm": lambda r: altered(
        r, signature_input=r.headers["signature-input"].replace("ed25519", "hmac-sha256")
    ),
    "fewer components": lambda r: altered(
        r, signature_input=r.headers["signature-input"].replace('"content-digest"', "")
    ),
}


@pytest.mark.parametrize("what", ALTERATIONS)
async def test_an_altered_request_is_refused(signer: Signer, what: str) -> None:
    await signer.refused(
        ALTERATIONS[what](signer.signed(signer.create(**{"Idempotency-Key": "k"})))
    )


GARBAGE = [
    f'{TAG}=();tag="{TAG}"',
    f'{TAG}=();tag="{TAG}";keyid="not-a-uuid"',
    f'a=();tag="{TAG}";keyid="00000000-0000-0000-0000-000000000000"',
    f'a=1;tag="{TAG}"',
    "(((((((((((((",
    "a=" + '"\\' * 500,
    'a=("@method" "@method");created=1;keyid="x";tag="hostler"',
    "\x00\xff",
    "x" * 5000,
]


@pytest.mark.parametrize("said_", GARBAGE, ids=range(len(GARBAGE)))
async def test_what_cannot_be_read_is_refused(signer: Signer, said_: str) -> None:
    raw = said_.encode("latin-1")
    request = signer.create()
    made = httpx.Request(
        "POST",
        request.url,
        headers=[*request.headers.raw, (b"Signature-Input", raw), (b"Signature", b"a=:AAAA:")],
        content=request.content,
    )
    await signer.refused(made)


@pytest.mark.parametrize("missing", ["@method", "@path", "@query", "content-type"])
async def test_what_has_to_be_signed_is(signer: Signer, missing: str) -> None:
    components = [each for each in (*COMPONENTS, "content-type") if each != missing]
    detail = await signer.refused(signer.by_hand(signer.create(), components=components))
    assert missing in detail


@pytest.mark.parametrize("nonce", [None, "short", "x" * 129])
async def test_a_signature_without_a_proper_nonce_is_refused(
    signer: Signer, nonce: str | None
) -> None:
    assert "nonce" in await signer.refused(signer.by_hand(signer.create(), nonce=nonce))


async def test_the_algorithm_is_the_registered_keys(signer: Signer) -> None:
    public = signer.key.public_key().public_bytes_raw()
    for include in (True, False):
        request = signer.by_hand(
            signer.create(), algorithm=HMAC_SHA256, key=public, include_alg=include
        )
        await signer.refused(request)


async def test_two_signatures_for_hostler_are_refused(signer: Signer) -> None:
    request = signer.signed()
    HTTPMessageSigner(
        signature_algorithm=ED25519,
        key_resolver=MappingKeyResolver(public_keys={}, private_keys={signer.key_id: signer.key}),
    ).sign(  # pyright: ignore[reportUnknownMemberType]
        request,
        key_id=signer.key_id,
        label="second",
        tag=TAG,
        covered_component_ids=COMPONENTS,
        append_if_signature_exists=True,
        use_existing_digest=True,
    )
    assert "more than one" in await signer.refused(request)


async def test_anothers_signature_is_not_looked_at(signer: Signer) -> None:
    request = signer.by_hand(signer.create(), tag="a-proxy", key=Ed25519PrivateKey.generate())
    assert "vm.create" in await signer.refused(request)
    listed = signer.by_hand(
        signer.caller.build_request("GET", "/v1/vms"), tag="web", components=COMPONENTS
    )
    assert (await signer.caller.send(listed)).status_code == 200


async def test_a_bad_signature_is_refused_where_none_was_asked_for(signer: Signer) -> None:
    request = signer.by_hand(
        signer.caller.build_request("GET", "/v1/vms"),
        components=COMPONENTS,
        key=Ed25519PrivateKey.generate(),
    )
    await signer.refused(request)


async def test_an_unknown_a_revoked_and_anothers_key_sign_nothing(signer: Signer) -> None:
    unknown = Signing("01993b1c-58a5-7c58-8a52-000000000131", signer.key, signer.clock)
    request = signer.create()
    unknown.sign(request)
    await signer.refused(request)
    ci = await signer.caller.post(
        "/v1/api-keys", json={"name": "ci", "role": "admin"}, auth=signer.signing
    )
    theirs = Ed25519PrivateKey.generate()
    made = await signer.caller.post(
        "/v1/signing-keys",
        json=ed25519("ci", theirs, api_key_id=ci.json()["id"]),
        auth=signer.signing,
    )
    signing = Signing(made.json()["id"], theirs, signer.clock)
    request = signer.create()
    signing.sign(request)
    assert "no signing key" in await signer.refused(request)
    async with client(signer.gateway, ci.json()["key"]) as caller:
        assert (await caller.post("/v1/vms", json=CREATE, auth=signing)).status_code == 202
        path = f"/v1/signing-keys/{made.json()['id']}"
        assert (await signer.caller.delete(path, auth=signer.signing)).status_code == 204
        assert (await caller.post("/v1/vms", json=CREATE, auth=signing)).status_code == 401


async def test_a_gateway_that_knows_a_key_hears_at_once_that_it_was_revoked(
    signer: Signer, new_gateway: NewGateway
) -> None:
    other = await new_gateway(signed_permissions=POLICY)
    mine = f"/v1/signing-keys/{signer.key_id}"
    async with client(other, ADMIN_KEY) as there:
        for _ in range(2):
            listed = await there.get("/v1/vms", auth=signer.signing)
            assert listed.status_code == 200, listed.text
        assert (await signer.caller.delete(mine, auth=signer.signing)).status_code == 204
        for _ in range(2):
            answer = await there.get("/v1/vms", auth=signer.signing)
            assert answer.status_code == 401
            assert "no signing key" in answer.json()["detail"]


async def test_a_key_that_is_known_for_one_caller_signs_nothing_for_another(
    signer: Signer,
) -> None:
    await signer.accepted(signer.signed())
    wanted = {"name": "ci", "role": "admin"}
    ci = await signer.caller.post("/v1/api-keys", json=wanted, auth=signer.signing)
    async with client(signer.gateway, ci.json()["key"]) as caller:
        answer = await caller.post("/v1/vms", json=CREATE, auth=signer.signing)
    assert answer.status_code == 401
    assert "no signing key" in answer.json()["detail"]


async def test_another_projects_key_signs_nothing_here(
    signer: Signer,
) -> None:
    key = Ed25519PrivateKey.generate()
    async with signer.gateway.database.session() as session:
        made = await signer.gateway.keys.make(
            session, Caller("key:x", "other", Role.ADMIN), "there"
        )
    assert made is not None
    async with client(signer.gateway, made.secret) as stranger:
        registered = await stranger.post("/v1/signing-keys", json=ed25519("laptop", key))
        assert registered.status_code == 201
        theirs = Signing(registered.json()["id"], key, signer.clock)
        request = signer.create()
        theirs.sign(request)
        assert "no signing key" in await signer.refused(request)
        path = f"/v1/signing-keys/{signer.key_id}"
        assert (await stranger.delete(path, auth=theirs)).status_code == 404


async def test_a_shared_secret_is_made_here_and_shown_once(signer: Signer) -> None:
    wanted = {"name": "hmac", "algorithm": "hmac-sha256"}
    made = await signer.caller.post("/v1/signing-keys", json=wanted, auth=signer.signing)
    secret = base64.b64decode(made.json()["secret"])
    assert len(secret) == 32
    signing = Signing(made.json()["id"], secret, signer.clock)
    assert (await signer.caller.post("/v1/vms", json=CREATE, auth=signing)).status_code == 202
    listed = (await signer.caller.get("/v1/signing-keys")).json()["items"]
    assert [each["name"] for each in listed] == ["laptop", "hmac"]
    assert not any("secret" in each for each in listed)
    told = [each.data for each in await said(signer.gateway.database)]
    assert made.json()["secret"] not in str(told)


async def test_a_stolen_api_key_cannot_get_itself_a_signing_key(signer: Signer) -> None:
    wanted = ed25519("mine", Ed25519PrivateKey.generate())
    request = signer.caller.build_request("POST", "/v1/signing-keys", json=wanted)
    assert "has signing keys" in await signer.refused(request)
    gone = signer.caller.build_request("DELETE", f"/v1/signing-keys/{signer.key_id}")
    await signer.refused(gone)


async def test_what_happens_to_signing_keys_is_told(signer: Signer) -> None:
    path = f"/v1/signing-keys/{signer.key_id}"
    statuses = [
        (await signer.caller.delete(path, auth=signer.signing)).status_code for _ in range(2)
    ]
    assert statuses == [204, 401], "with a revoked key nothing is signed"
    told = [each.data for each in await said(signer.gateway.database)]
    assert [type(e) for e in told if not isinstance(e, Refused)][-2:] == [
        RequestKeyRegistered,
        RequestKeyRevoked,
    ]


@pytest.mark.parametrize(
    "wanted",
    [
        {"algorithm": "ed25519"},
        {"algorithm": "ed25519", "public_key": "AAAA"},
        {"algorithm": "ed25519", "public_key": "%" * 44},
        {"algorithm": "hmac-sha256", "public_key": base64.b64encode(b"x" * 32).decode()},
        {"algorithm": "none"},
        {"algorithm": "rsa-pss-sha512"},
    ],
)
async def test_what_is_no_key_is_a_400(gateway: Gateway, wanted: dict[str, str]) -> None:
    async with client(gateway, ADMIN_KEY) as caller:
        answer = await caller.post("/v1/signing-keys", json={"name": "x", **wanted})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


async def test_a_name_is_given_once(gateway: Gateway) -> None:
    async with client(gateway, ADMIN_KEY) as caller:
        said_ = [
            (
                await caller.post(
                    "/v1/signing-keys", json=ed25519("x", Ed25519PrivateKey.generate())
                )
            ).status_code
            for _ in range(2)
        ]
    assert said_ == [201, 409]
