"""Service accounts: admins of a project make them; programs get access tokens by them (RFC 6749, 4.4)."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import unquote_plus
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.identity import Caller
from chassis.outbox import say
from chassis.problems import Refusal
from contracts.access.events import KeyRevoked
from contracts.access.federation import (
    ClientSecretMade,
    ClientSecretRemoved,
    ServiceAccountChanged,
    ServiceAccountMade,
    ServiceAccountRemoved,
)
from contracts.errors import ErrorCode
from contracts.identity import Role, Scope, allows
from contracts.message import Body
from contracts.vm.fields import Name
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Gateway, Here
from services.gateway.forms import documented_form, read_form
from services.gateway.identity.accounts import rows
from services.gateway.identity.accounts.tables import SERVICE_ACCOUNTS
from services.gateway.identity.keys import require_within
from services.gateway.identity.permission import permit
from services.gateway.identity.saying import Asking, Asks, told
from services.gateway.pages import Limit, Marker, Order, Page
from services.gateway.reading.pages import page_of
from services.gateway.resources import Resource
from services.gateway.routes.guard import guarded, unguarded
from services.gateway.tables import API_KEYS, columns

ROUTER = guarded("/service-accounts", "service accounts")
TOKENS = unguarded("/auth", "auth")
Admin = Annotated[Caller, Depends(permit(Role.ADMIN, "service_account.manage"))]
_ORDER = Order("created_at", SERVICE_ACCOUNTS.c.created_at, SERVICE_ACCOUNTS.c.id)
_BASIC = {"WWW-Authenticate": 'Basic realm="hostler"'}
_FIELDS = {"grant_type", "client_id", "client_secret", "scope"}
Scopes = Annotated[
    list[Scope] | None,
    Field(min_length=1, max_length=100, description="What of its role it may do; null: all."),
]
Description = Annotated[str | None, Field(max_length=500)]


class MakeServiceAccount(BaseModel):
    """A program that is to act in the project."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(
        description="Stands as `service:NAME` in everything done with it.", examples=["deployer"]
    )
    description: Description = None
    role: Role = Field(examples=["operator"])
    scopes: Scopes = None


class ChangeServiceAccount(BaseModel):
    """What is to be otherwise; what is not named stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Description = None
    role: Role | None = None
    scopes: Scopes = None
    enabled: bool | None = Field(
        default=None, description="False: its keys, its secret and its tokens are refused."
    )


class MakeClientSecret(BaseModel):
    """How long the secret of before works."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    overlap_seconds: int = Field(default=86_400, ge=0, le=30 * 86_400)


class AskForToken(BaseModel):
    """A request for an access token; the client's id and secret here or by HTTP Basic."""

    model_config = ConfigDict(frozen=True)

    grant_type: Literal["client_credentials"]
    client_id: str | None = None
    client_secret: str | None = None
    scope: str | None = Field(
        default=None,
        description="Scopes, with spaces between them; by default all of the account's.",
    )


class ServiceAccount(Resource):
    """A program of a project."""

    id: UUID
    name: str
    description: str | None
    role: Role
    scopes: list[str] | None
    enabled: bool
    prefix: str | None = Field(description="How its secret begins; null: it has none.")
    former_until: datetime | None = Field(
        description="When the secret before the last one ceases to work."
    )
    created_at: datetime
    created_by: str
    updated_at: datetime
    last_used_at: datetime | None = Field(description="When its secret was last used.")
    locked_until: datetime | None = Field(description="After wrong secrets.")


class NewClientSecret(BaseModel):
    """A secret that was made just now."""

    client_id: UUID
    client_secret: str = Field(description="It is shown only here and now.")
    former_until: datetime | None


class ServiceToken(BaseModel):
    """An access token, as RFC 6749 writes it."""

    access_token: str = Field(description="Send it as `Authorization: Bearer …`.")
    token_type: str = "Bearer"  # noqa: S105 - its type
    expires_in: int
    scope: str = Field(description="`*`: all that the account's role covers.")


class TokenRefused(BaseModel):
    """A refusal, as RFC 6749 writes it."""

    error: str
    error_description: str


@dataclass(frozen=True)
class _Doing:
    """Who changes something, by which request, at which gateway."""

    gateway: Gateway
    caller: Caller
    asking: Asking

    async def say(self, session: AsyncSession, subject: UUID, data: Body) -> None:
        """Tell the audit of it."""
        message = told(
            data,
            self.gateway.clock(),
            subject=subject,
            actor=self.caller.actor,
            request_id=self.asking.request_id,
            project=self.caller.project_id,
        )
        await say(session, message)


async def _doing(gateway: Here, caller: Admin, asking: Asks) -> _Doing:
    return _Doing(gateway, caller, asking)


Does = Annotated[_Doing, Depends(_doing)]
BODIES = (MakeServiceAccount, ChangeServiceAccount, MakeClientSecret, AskForToken)


@ROUTER.post(
    "",
    status_code=201,
    responses=documents.problems(ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(MakeServiceAccount),
)
async def make_service_account(
    gateway: Here,
    doing: Does,
    caller: Admin,
    wanted: Annotated[MakeServiceAccount, Depends(body(MakeServiceAccount))],
) -> ServiceAccount:
    """Make a service account of the project. It has neither a key nor a secret to begin with."""
    require_within(caller, wanted.scopes, None)
    new = rows.NewAccount(
        caller.project_id,
        wanted.name,
        wanted.role,
        caller.actor,
        wanted.description,
        wanted.scopes,
    )
    async with gateway.database.session() as session:
        row = await rows.add(session, new, gateway.clock())
        made = ServiceAccountMade(name=row.name, role=wanted.role, scopes=_tuple(wanted.scopes))
        await doing.say(session, row.id, made)
    return _shown(row)


@ROUTER.get("", responses=documents.problems())
async def list_service_accounts(
    request: Request, gateway: Here, caller: Admin, limit: Limit = 100, marker: Marker = None
) -> Page[ServiceAccount]:
    """List the project's service accounts."""
    mine = SERVICE_ACCOUNTS.c.project_id == caller.project_id
    query = select(SERVICE_ACCOUNTS).where(mine)
    return await page_of(gateway, request, query, _ORDER, _shown, limit=limit, marker=marker)


@ROUTER.get("/{account_id}", responses=documents.problems(ErrorCode.NOT_FOUND))
async def show_service_account(account_id: UUID, gateway: Here, caller: Admin) -> ServiceAccount:
    """Show a service account."""
    async with gateway.database.reading() as session:
        return _shown(await rows.find(session, caller.project_id, account_id))


@ROUTER.patch(
    "/{account_id}",
    responses=documents.problems(ErrorCode.NOT_FOUND, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(ChangeServiceAccount),
)
async def change_service_account(
    account_id: UUID,
    gateway: Here,
    doing: Does,
    caller: Admin,
    wanted: Annotated[ChangeServiceAccount, Depends(body(ChangeServiceAccount))],
) -> ServiceAccount:
    """Change a service account. Its tokens are refused from now on, unless only the description changed."""
    async with gateway.database.session() as session:
        row = await rows.find(session, caller.project_id, account_id, lock=True)
        said = wanted.model_dump(mode="json", include=wanted.model_fields_set)
        said = {n: v for n, v in said.items() if v is not None or n in {"description", "scopes"}}
        changed = {name: value for name, value in said.items() if getattr(row, name) != value}
        if {"role", "scopes"} & set(changed):
            require_within(caller, changed.get("scopes", row.scopes), None)
        if changed:
            retoken = bool(set(changed) - {"description"})
            unlocked = {"failures": 0, "locked_until": None} if changed.get("enabled") else {}
            await rows.change(
                session, row.id, gateway.clock(), retoken=retoken, **changed, **unlocked
            )
            old: dict[str, JsonValue] = {name: getattr(row, name) for name in changed}
            event = ServiceAccountChanged(name=row.name, old=old, new=changed)
            await doing.say(session, row.id, event)
        row = await rows.find(session, caller.project_id, account_id)
    _forget(gateway)
    return _shown(row)


@ROUTER.delete("/{account_id}", status_code=204, responses=documents.problems(ErrorCode.NOT_FOUND))
async def remove_service_account(
    account_id: UUID, gateway: Here, doing: Does, caller: Admin
) -> Response:
    """Remove a service account, and revoke its keys."""
    async with gateway.database.session() as session:
        row = await rows.find(session, caller.project_id, account_id, lock=True)
        theirs = (API_KEYS.c.service_account_id == row.id) & API_KEYS.c.revoked_at.is_(None)
        revoking = update(API_KEYS).where(theirs).values(revoked_at=gateway.clock())
        for key in (await session.execute(revoking.returning(API_KEYS))).all():
            revoked = KeyRevoked(name=key.name, prefix=key.prefix)
            await doing.say(session, key.id, revoked)
        await rows.remove(session, row.id)
        removed = ServiceAccountRemoved(name=row.name)
        await doing.say(session, row.id, removed)
    _forget(gateway)
    return Response(status_code=204)


@ROUTER.post(
    "/{account_id}/secret",
    status_code=201,
    responses=documents.problems(ErrorCode.NOT_FOUND, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(MakeClientSecret, optional=True),
)
async def make_client_secret(
    account_id: UUID,
    gateway: Here,
    doing: Does,
    caller: Admin,
    wanted: Annotated[MakeClientSecret, Depends(body(MakeClientSecret, optional=True))],
) -> NewClientSecret:
    """Give a service account a secret, or another one, shown now and never again."""
    overlap = timedelta(seconds=wanted.overlap_seconds)
    async with gateway.database.session() as session:
        row = await rows.find(session, caller.project_id, account_id, lock=True)
        require_within(caller, row.scopes, None)
        made = await gateway.identity.credentials.make(session, row, overlap)
        now = await rows.find(session, caller.project_id, account_id)
        event = ClientSecretMade(name=row.name, prefix=made.prefix, former_until=now.former_until)
        await doing.say(session, row.id, event)
    _forget(gateway)
    return NewClientSecret(
        client_id=row.id, client_secret=made.secret, former_until=now.former_until
    )


@ROUTER.delete(
    "/{account_id}/secret", status_code=204, responses=documents.problems(ErrorCode.NOT_FOUND)
)
async def remove_client_secret(
    account_id: UUID, gateway: Here, doing: Does, caller: Admin
) -> Response:
    """Take a service account's secrets away; its tokens are refused from now on, its keys work on."""
    async with gateway.database.session() as session:
        row = await rows.find(session, caller.project_id, account_id, lock=True)
        await gateway.identity.credentials.drop(session, row.id)
        removed = ClientSecretRemoved(name=row.name)
        await doing.say(session, row.id, removed)
    _forget(gateway)
    return Response(status_code=204)


@TOKENS.post(
    "/token",
    response_model=ServiceToken,
    responses={
        **documents.problems(ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        400: {"model": TokenRefused, "description": "As RFC 6749, 5.2 has it."},
        401: {"model": TokenRefused, "description": "`invalid_client`"},
    },
    openapi_extra=documented_form(AskForToken),
)
async def give_token(request: Request, gateway: Here, asking: Asks) -> Response:
    """Give a service account an access token for its id and secret (OAuth 2.0 client credentials)."""
    try:
        account, scopes = await _admitted(request, gateway, asking)
    except _RefusedError as refused:
        return refused.told
    tokens = gateway.identity.service_tokens
    answer = ServiceToken(
        access_token=await tokens.sign(account, scopes),
        expires_in=int(tokens.lifetime.total_seconds()),
        scope=" ".join(scopes or ("*",)),
    )
    return JSONResponse(answer.model_dump())


async def _admitted(
    request: Request, gateway: Gateway, asking: Asking
) -> tuple[Row[Any], list[str] | None]:
    given = await _form(request)
    client_id, secret = _client(request, given)
    if given.get("grant_type") != "client_credentials":
        raise _RefusedError("unsupported_grant_type", "Only client_credentials.")
    account = await gateway.identity.credentials.admit(client_id, secret, asking)
    if account is None:
        said = "Id or secret is wrong, or the account cannot be used now."
        raise _RefusedError("invalid_client", said)
    return account, _narrowed(account, given.get("scope"))


class _RefusedError(Exception):
    def __init__(self, error: str, description: str) -> None:
        self.error = error
        self.description = description
        super().__init__(error)

    @property
    def told(self) -> JSONResponse:
        is_client = self.error == "invalid_client"
        told = TokenRefused(error=self.error, error_description=self.description)
        headers = _BASIC if is_client else None
        return JSONResponse(told.model_dump(), 401 if is_client else 400, headers=headers)


async def _form(request: Request) -> dict[str, str]:
    try:
        given = await read_form(request)
    except Refusal as error:
        raise _RefusedError("invalid_request", error.detail) from error
    if not set(given) <= _FIELDS:
        raise _RefusedError("invalid_request", "There is a field that is not known here.")
    return given


def _client(request: Request, given: Mapping[str, str]) -> tuple[str, str]:
    """Id and secret, by exactly one of the ways (RFC 6749, 2.3.1)."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    in_body = given.get("client_id"), given.get("client_secret")
    if not scheme:
        if in_body[0] and in_body[1]:
            return in_body[0], in_body[1]
        raise _RefusedError("invalid_client", "Send the client's id and secret.")
    if scheme.lower() != "basic" or in_body[1] is not None:
        raise _RefusedError("invalid_request", "Send id and secret by HTTP Basic or in the body.")
    try:
        plain = base64.b64decode(encoded, validate=True).decode("ascii")
        client_id, colon, secret = plain.partition(":")
        client_id, secret = (unquote_plus(each, errors="strict") for each in (client_id, secret))
    except (binascii.Error, ValueError) as error:
        raise _RefusedError("invalid_client", "The Authorization field cannot be read.") from error
    if not colon:
        raise _RefusedError("invalid_client", "Send the client's id and secret.")
    if in_body[0] not in {None, client_id}:
        raise _RefusedError("invalid_request", "Two clients are named.")
    return client_id, secret


def _narrowed(account: Row[Any], scope: str | None) -> list[str] | None:
    """The scopes that are asked for, all of which the account has to have."""
    wanted = scope.split() if scope is not None else None
    if not wanted:
        return account.scopes
    if account.scopes is not None and not all(allows(account.scopes, each) for each in wanted):
        raise _RefusedError("invalid_scope", "The account has not all of these scopes.")
    return wanted


def _shown(row: Row[Any]) -> ServiceAccount:
    return ServiceAccount.model_validate(columns(row))


def _tuple(scopes: list[str] | None) -> tuple[str, ...] | None:
    return None if scopes is None else tuple(scopes)


def _forget(gateway: Gateway) -> None:
    gateway.identity.service_tokens.forget()
    gateway.keys.forget()
