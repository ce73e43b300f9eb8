"""Signed requests: HTTP Message Signatures (RFC 9421) with Content-Digest (RFC 9530).

A signature that is meant for Hostler (`tag="hostler"`) is always checked, and a request whose
signature does not hold is refused, whether it had to be signed or not. The algorithm is the
registered key's, never what the message says; each nonce is good once, at all gateways together.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import http_sf
from fastapi import Request
from http_message_signatures.algorithms import (
    ED25519,  # pyright: ignore[reportPrivateImportUsage] - the documented name
    HMAC_SHA256,  # pyright: ignore[reportPrivateImportUsage]
    HTTPSignatureAlgorithm,  # pyright: ignore[reportPrivateImportUsage]
)
from http_message_signatures.exceptions import HTTPMessageSignaturesException, InvalidSignature
from http_message_signatures.resolvers import HTTPSignatureKeyResolver, VerificationKey
from http_message_signatures.signatures import HTTPMessageVerifier
from http_message_signatures.structures import VerifyResult
from starlette.datastructures import Headers

from chassis.database import Database, as_projects
from chassis.identity import Caller
from chassis.leases import Clock
from chassis.problems import Refusal
from contracts.errors import ErrorCode
from contracts.identity import allows
from services.gateway.identity.request_keys import (
    Algorithm,
    RequestKey,
    find_key,
    holder_of,
    use_nonce,
)

LOG = logging.getLogger(__name__)
TAG = "hostler"
SKEW = timedelta(seconds=30)
COMPONENTS = ("@method", "@path", "@query")
BOUND = ("content-type", "idempotency-key", "if-match", "x-project-id")
"""Header fields that change what a request does: where one is there, it has to be signed, too."""
_LONGEST = 4096
_REMEMBERED = 10_000
_NONCES = range(16, 129)
_ALGORITHMS: dict[Algorithm, type[HTTPSignatureAlgorithm]] = {
    Algorithm.ED25519: ED25519,
    Algorithm.HMAC_SHA256: HMAC_SHA256,
}
_WANTED = ("@method", "@path", "@query", "content-digest")
_HEADERS = {
    "WWW-Authenticate": 'Signature realm="hostler"',
    "Accept-Signature": f"{TAG}=({' '.join(f'{chr(34)}{each}{chr(34)}' for each in _WANTED)})"
    f';created;keyid;nonce;tag="{TAG}"',
}


def refused(detail: str) -> Refusal:
    """A 401 that says what a signature is to be like (RFC 9421, 5.1)."""
    return Refusal(ErrorCode.SIGNATURE_INVALID, detail, headers=_HEADERS)


class Signatures:
    """Checks signatures; `required`: permissions, or `vm.*`, that ask for a signed request."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        pepper: bytes,
        required: Sequence[str],
        max_age: timedelta,
    ) -> None:
        self.database = database
        self.clock = clock
        self.pepper = pepper
        """What the secrets of hmac-sha256 keys follow from."""
        self._required = tuple(required)
        self._max_age = max_age
        self._known: dict[tuple[UUID, str, UUID | None], RequestKey] = {}
        """Keys that were found, by id, project and holder."""

    @property
    def are_required(self) -> bool:
        """Whether anything asks for a signature at all."""
        return bool(self._required)

    def require(self, request: Request, permission: str) -> None:
        """A 401 where the permission asks for a signature and the request has none."""
        if allows(self._required, permission) and signer_of(request) is None:
            raise refused(f"{permission} asks for a signed request.")

    async def read(self, request: Request, caller: Caller) -> UUID | None:
        """The key that a request is signed by, None if it is not signed; a 401 if it does not hold."""
        claimed = _claimed(request.headers)
        if claimed is None:
            return None
        key = await self._key(caller, claimed)
        if key is None:
            raise _unknown()
        await self._use(key, caller, self._verified(key, request, await request.body()))
        return key.id

    async def _key(self, caller: Caller, key_id: UUID) -> RequestKey | None:
        """The key; one that was found before is remembered, for nothing of it changes.

        But that it may be revoked: `_use` asks for that, each time.
        """
        whose = key_id, caller.project_id, holder_of(caller)
        if (known := self._known.get(whose)) is not None:
            return known
        with _acting(caller):
            async with self.database.reading() as session:
                key = await find_key(session, caller, key_id, self.pepper)
        if key is not None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[whose] = key
        return key

    def _verified(self, key: RequestKey, request: Request, body: bytes) -> VerifyResult:
        headers = request.headers
        try:
            (result,) = _Verifier(key, self.clock).verify(  # pyright: ignore[reportUnknownMemberType] - `message`
                _Signed.of(request),
                max_age=self._max_age,
                expect_tag=TAG,
                # Without a body to check the library would still parse each component once more.
                body=body if body or "content-digest" in headers else None,
            )
            _require_covered(result, [*COMPONENTS, *(name for name in BOUND if name in headers)])
        except HTTPMessageSignaturesException as error:
            LOG.info("a signature of %s was refused: %s", key.id, error)
            raise refused(str(error) or "The signature does not match the request.") from error
        return result

    async def _use(self, key: RequestKey, caller: Caller, result: VerifyResult) -> None:
        """Use the nonce up: only of a signature that holds, so that nobody else can."""
        if result.nonce is None or len(result.nonce) not in _NONCES:
            raise refused("The signature needs a nonce of 16 to 128 characters.")
        until = self.clock() + self._max_age + 2 * SKEW
        with _acting(caller):
            async with self.database.session() as session:
                if self.database.is_postgres:  # one statement: to begin and to commit is two more
                    await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
                if await use_nonce(session, caller, key.id, result.nonce, until):
                    return
                is_live = await find_key(session, caller, key.id, self.pepper) is not None
        if is_live:
            raise refused("A request with this nonce was taken before.")
        self._known.pop((key.id, caller.project_id, holder_of(caller)), None)
        raise _unknown()


def _acting(caller: Caller) -> AbstractContextManager[None]:
    """As their project, as all that follows will be: to tell Postgres in between costs a round trip."""
    return as_projects(caller.project_id) if caller.project_id else nullcontext()


def _unknown() -> Refusal:
    return refused("The caller has no signing key of this id.")


def _require_covered(result: VerifyResult, names: Sequence[str]) -> None:
    """InvalidSignature unless it covers these, each as a whole.

    The library can require that, too, but parses every component for it, twice.
    """
    for name in names:
        if f'"{name}"' not in result.covered_components:
            raise InvalidSignature(f'Required component "{name}" was not covered by the signature')


def signer_of(request: Request) -> UUID | None:
    """The key by which the request was found to be signed."""
    return cast("UUID | None", getattr(request.state, "signer", None))


def _claimed(headers: Headers) -> UUID | None:
    """The key that the one signature with our tag names; None where there is no such signature.

    Others' signatures, a proxy's say, are not looked at.
    """
    said = ", ".join(headers.getlist("signature-input"))
    if not said:
        return None
    if len(said) > _LONGEST:
        raise refused("Signature-Input is too long.")
    try:
        members: dict[str, Any] = cast("Any", http_sf.parse(said.encode(), tltype="dictionary"))
        ours = [params for _, params in members.values() if params.get("tag") == TAG]
        named = [UUID(str(each["keyid"])) for each in ours]
    except (ValueError, TypeError, KeyError) as error:
        raise refused("Signature-Input cannot be read, or lacks a keyid of ours.") from error
    if len(named) > 1:
        raise refused("There is more than one signature for Hostler.")
    return named[0] if named else None


@dataclass(frozen=True)
class _Signed:
    """A request as the library wants it: the path and query as they were sent."""

    method: str
    url: str
    headers: Headers

    @classmethod
    def of(cls, request: Request) -> "_Signed":
        scope = request.scope
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        query: bytes = scope["query_string"]
        target = path.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
        host = request.headers.get("host", TAG)
        method: str = request.state.passage.asked
        return cls(method, f"{scope['scheme']}://{host}{target}", request.headers)


class _OneKey(HTTPSignatureKeyResolver):
    """Knows the key that was looked up, and no other."""

    def __init__(self, key: RequestKey) -> None:
        self._key = key

    def resolve_public_key(self, key_id: str) -> VerificationKey | None:
        return self._key.material if key_id == str(self._key.id) else None


class _Verifier(HTTPMessageVerifier):
    """By one key and its algorithm, with the time as the gateway's clock has it."""

    max_clock_skew = SKEW

    def __init__(self, key: RequestKey, clock: Clock) -> None:
        super().__init__(signature_algorithm=_ALGORITHMS[key.algorithm], key_resolver=_OneKey(key))
        self._clock = clock

    def validate_created_and_expires(
        self, sig_input: Any, max_age: timedelta | None = None
    ) -> None:
        """As the library does, which asks the machine's clock."""
        now, params = self._clock(), cast("dict[str, object]", sig_input.params)
        created, expires = _moment(params.get("created")), _moment(params.get("expires"))
        if created is None:
            raise InvalidSignature("The signature does not say when it was created.")
        if created > now + SKEW:
            raise InvalidSignature("The signature was created in the future.")
        if max_age is not None and created + max_age < now - SKEW:
            raise InvalidSignature("The signature is too old.")
        if expires is not None and expires < now - SKEW:
            raise InvalidSignature("The signature has expired.")


def _moment(seconds: object) -> datetime | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(cast("int", seconds), UTC)
    except (ValueError, OverflowError, OSError, TypeError) as error:
        raise InvalidSignature("The signature names a time that is none.") from error
