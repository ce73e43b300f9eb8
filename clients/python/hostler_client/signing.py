"""Signs httpx requests so that Hostler takes them for what was sent, once: RFC 9421 and RFC 9530."""

import secrets
from collections.abc import Callable, Generator
from datetime import UTC, datetime

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures.algorithms import (
    ED25519,  # pyright: ignore[reportPrivateImportUsage] - the documented name
    HMAC_SHA256,  # pyright: ignore[reportPrivateImportUsage]
)
from http_message_signatures.resolvers import HTTPSignatureKeyResolver, SigningKey
from http_message_signatures.signatures import HTTPMessageSigner

TAG = "hostler"
COMPONENTS = ("@method", "@path", "@query")
BOUND = ("content-type", "idempotency-key", "if-match", "x-project-id")
"""Header fields that Hostler wants signed where they are sent."""


class Signing(httpx.Auth):
    """`auth=Signing(key_id, key)`: signs every request of a client, or the one it is given to.

    `key_id` is the id that Hostler gave the key; `key` its Ed25519 private key, or the bytes of the
    shared secret of an hmac-sha256 key. The body has to be known before it is sent. `clock` is asked
    for the time: Hostler takes half a minute's difference from its own.
    """

    requires_request_body = True

    def __init__(
        self,
        key_id: str,
        key: Ed25519PrivateKey | bytes,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._key_id = key_id
        self._clock = clock
        self._signer = HTTPMessageSigner(
            signature_algorithm=HMAC_SHA256 if isinstance(key, bytes) else ED25519,
            key_resolver=_OneKey(key),
        )

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Sign the request as it is sent, each time anew."""
        self.sign(request)
        yield request

    def sign(self, request: httpx.Request) -> None:
        """Add Content-Digest, where there is a body, Signature-Input and Signature."""
        present = [name for name in BOUND if name in request.headers]
        has_digest = "content-digest" in request.headers
        self._signer.sign(  # pyright: ignore[reportUnknownMemberType] - `message` has no type
            request,
            key_id=self._key_id,
            created=self._clock(),
            nonce=secrets.token_urlsafe(24),
            label=TAG,
            tag=TAG,
            covered_component_ids=[*COMPONENTS, *present],
            body=request.content if request.content or has_digest else None,
            use_existing_digest=has_digest,
        )


class _OneKey(HTTPSignatureKeyResolver):
    def __init__(self, key: SigningKey) -> None:
        self._key = key

    def resolve_private_key(self, key_id: str) -> SigningKey:
        return self._key
