"""Signing keys: an admin of a project registers, lists and revokes what requests are signed with."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.outbox import say
from chassis.problems import invalid
from contracts.access.events import RequestKeyRegistered, RequestKeyRevoked
from contracts.errors import ErrorCode
from contracts.identity import Role
from contracts.message import Message
from contracts.vm.fields import Name
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Gateway, Here, RequestId
from services.gateway.identity.permission import permit
from services.gateway.identity.request_keys import (
    REQUEST_KEYS,
    Algorithm,
    has_keys,
    holder_of,
    secret_of,
)
from services.gateway.identity.signatures import refused, signer_of
from services.gateway.locks import exclusively
from services.gateway.pages import Limit, Marker, Order, Page
from services.gateway.reading.pages import page_of
from services.gateway.resources import Resource
from services.gateway.routes.guard import guarded
from services.gateway.tables import API_KEYS, columns

ROUTER = guarded("/signing-keys", "signing keys")
Admin = Annotated[Caller, Depends(permit(Role.ADMIN, "signing_key.manage"))]
_ORDER = Order("created_at", REQUEST_KEYS.c.created_at, REQUEST_KEYS.c.id)


class RegisterSigningKey(BaseModel):
    """What a key is to sign, and for whom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(examples=["ci"])
    algorithm: Algorithm = Field(examples=[Algorithm.ED25519])
    public_key: str | None = Field(
        default=None,
        max_length=64,
        description="Of an ed25519 key: its 32 bytes in base64. An hmac-sha256 key is made here.",
        examples=["gJYYYQgpFQMv8U5Ll0u3LwsR1WuXoKpJ3sD0mYnPZ2k="],
    )
    api_key_id: UUID | None = Field(
        default=None,
        description="The project's API key whose requests it signs; by default the caller's own.",
    )


class SigningKey(Resource):
    """A key by which requests are signed, without its secret."""

    id: UUID = Field(description="The `keyid` of its signatures.")
    name: str
    algorithm: Algorithm
    public_key: str | None = Field(description="Of an ed25519 key, in base64.")
    holder: str = Field(description="Whose requests it signs: `key:NAME` or `user:ID`.")
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None


class NewSigningKey(SigningKey):
    """A signing key that was registered just now."""

    secret: str | None = Field(
        description="Of an hmac-sha256 key: its 32 bytes in base64, shown only here and now."
    )


@ROUTER.post(
    "",
    status_code=201,
    responses=documents.problems(
        ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE
    ),
    openapi_extra=documented(RegisterSigningKey),
)
async def register_key(
    request: Request,
    request_id: RequestId,
    gateway: Here,
    caller: Admin,
    wanted: Annotated[RegisterSigningKey, Depends(body(RegisterSigningKey))],
) -> NewSigningKey:
    """Register a key of an API key, or of the user who asks.

    Where any permission asks for signatures, and the project has a key already, this has to be
    signed, too: a stolen API key alone cannot get itself one.
    """
    public, key_id = _public(wanted), new_id()
    async with gateway.database.session() as session:
        await _require_signer(session, gateway, request, caller)
        holder_id, holder = await _holder(session, caller, wanted.api_key_id)
        row = insert(session, REQUEST_KEYS).values(
            id=key_id,
            project_id=caller.project_id,
            holder_id=holder_id,
            holder=holder,
            name=wanted.name,
            algorithm=wanted.algorithm.value,
            public_key=public,
            created_at=gateway.clock(),
            created_by=caller.actor,
        )
        made = row.on_conflict_do_nothing().returning(REQUEST_KEYS)
        found = (await session.execute(made)).first()
        if found is None:
            raise Terminal(ErrorCode.CONFLICT, f"There is a signing key named {wanted.name!r}.")
        said = RequestKeyRegistered(name=wanted.name, algorithm=wanted.algorithm, holder=holder)
        await say(session, _event(gateway, caller, request_id, key_id, said))
    secret = None if public else base64.b64encode(secret_of(gateway.signatures.pepper, key_id))
    shown = secret.decode() if secret else None
    return NewSigningKey.model_validate({**_fields(found), "secret": shown})


@ROUTER.get("", responses=documents.problems())
async def list_signing_keys(
    request: Request, gateway: Here, caller: Admin, limit: Limit = 100, marker: Marker = None
) -> Page[SigningKey]:
    """List the project's signing keys, revoked ones too."""
    query = select(REQUEST_KEYS).where(REQUEST_KEYS.c.project_id == caller.project_id)
    return await page_of(gateway, request, query, _ORDER, _shown, limit=limit, marker=marker)


@ROUTER.delete("/{key_id}", status_code=204, responses=documents.problems(ErrorCode.NOT_FOUND))
async def revoke_signing_key(
    key_id: UUID, request: Request, request_id: RequestId, gateway: Here, caller: Admin
) -> Response:
    """Revoke a signing key: from now on nothing that it signs holds."""
    mine = (REQUEST_KEYS.c.id == key_id) & (REQUEST_KEYS.c.project_id == caller.project_id)
    async with gateway.database.session() as session:
        await _require_signer(session, gateway, request, caller)
        row = (await session.execute(select(REQUEST_KEYS).where(mine))).first()
        if row is None:
            raise Terminal(ErrorCode.NOT_FOUND)
        if row.revoked_at is None:
            await session.execute(
                update(REQUEST_KEYS).where(mine).values(revoked_at=gateway.clock())
            )
            revoked = RequestKeyRevoked(name=row.name, holder=row.holder)
            await say(session, _event(gateway, caller, request_id, key_id, revoked))
    return Response(status_code=204)


async def _require_signer(
    session: AsyncSession, gateway: Gateway, request: Request, caller: Caller
) -> None:
    """One at a time per project, so that of two first keys the second has to be signed."""
    await exclusively(session, f"request-keys.{caller.project_id}")
    asked = gateway.signatures.are_required and signer_of(request) is None
    if asked and await has_keys(session, caller.project_id):
        raise refused("The project has signing keys: sign this request with one of them.")


async def _holder(
    session: AsyncSession, caller: Caller, api_key_id: UUID | None
) -> tuple[UUID, str]:
    own = holder_of(caller)
    if api_key_id is None and own is not None:
        return own, caller.actor
    theirs = (
        (API_KEYS.c.id == api_key_id)
        & (API_KEYS.c.project_id == caller.project_id)
        & API_KEYS.c.revoked_at.is_(None)
    )
    row = (await session.execute(select(API_KEYS.c.id, API_KEYS.c.name).where(theirs))).first()
    if row is None:
        raise Terminal(ErrorCode.NOT_FOUND, "The project has no such API key.")
    return row.id, f"key:{row.name}"


def _public(wanted: RegisterSigningKey) -> bytes | None:
    if wanted.algorithm is Algorithm.HMAC_SHA256:
        if wanted.public_key is not None:
            raise invalid("body.public_key", "An hmac-sha256 key is a secret that is made here.")
        return None
    try:
        raw = base64.b64decode(wanted.public_key or "", validate=True)
        return Ed25519PublicKey.from_public_bytes(raw).public_bytes_raw()
    except (binascii.Error, ValueError) as error:
        raise invalid("body.public_key", "Has to be the 32 bytes of an Ed25519 key.") from error


def _shown(row: Row[Any]) -> SigningKey:
    return SigningKey.model_validate(_fields(row))


def _fields(row: Row[Any]) -> dict[str, Any]:
    public: bytes | None = row.public_key
    shown = base64.b64encode(public).decode() if public else None
    return {**columns(row), "public_key": shown}


def _event(
    gateway: Gateway,
    caller: Caller,
    request_id: str,
    key_id: UUID,
    data: RequestKeyRegistered | RequestKeyRevoked,
) -> Message[RequestKeyRegistered | RequestKeyRevoked]:
    return Message(
        id=new_id(),
        source="hostler/gateway",
        time=gateway.clock(),
        subject=str(key_id),
        project_id=caller.project_id,
        actor=caller.actor,
        request_id=request_id,
        data=data,
    )
