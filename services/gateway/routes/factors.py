"""A user's second factors and recovery codes; an admin of the platform resets those of somebody else."""

import asyncio
import base64
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlalchemy import Row

from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.problems import Refusal
from contracts.errors import ErrorCode
from contracts.vm.fields import Name
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Here, gateway_of
from services.gateway.identity.factors import Enrolled, held
from services.gateway.identity.methods import FactorKind
from services.gateway.identity.permission import (
    STEP_UP,
    bearer_of,
    note_permission,
    permit_platform,
)
from services.gateway.identity.proofs import Answer, Code
from services.gateway.identity.recovery import left
from services.gateway.identity.saying import Asks
from services.gateway.identity.tokens import Bearer
from services.gateway.identity.totp import qr_of
from services.gateway.routes.guard import guarded, personal

ROUTER = personal("/me", "second factors")
RESET = guarded("/users", "second factors")
_TAKES = documents.problems(ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE)


async def bearing(request: Request) -> Bearer:
    """The user who is asking, by their token; a 403 for a key, which has no account."""
    bearer = bearer_of(request)
    if bearer is None:
        raise Terminal(ErrorCode.FORBIDDEN, "Only a user who has logged in has an account.")
    return bearer


User = Annotated[Bearer, Depends(bearing)]


async def proven(request: Request, bearer: User) -> Bearer:
    """The same, who has just shown that it is them; a 401 if that was too long ago."""
    try:
        await gateway_of(request).identity.step_up.require_own(bearer)
    except Refusal:
        note_permission(request, STEP_UP)
        raise
    return bearer


Proven = Annotated[Bearer, Depends(proven)]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EnrolTotp(_Asked):
    """An authenticator app that is to be a factor."""

    name: Name = Field(examples=["phone"])


class ConfirmTotp(_Asked):
    """What the app shows."""

    code: Code


class EnrolPasskey(_Asked):
    """What a browser has made of the options."""

    name: Name = Field(examples=["laptop"])
    passkey: Answer


BODIES = (EnrolTotp, ConfirmTotp, EnrolPasskey)


class FactorShown(BaseModel):
    """A second factor."""

    id: UUID
    kind: FactorKind
    name: str
    created_at: datetime
    last_used_at: datetime | None


class FactorsShown(BaseModel):
    """What a user can prove themselves with, besides the password."""

    items: list[FactorShown]
    recovery_codes_left: int


class TotpShown(BaseModel):
    """What an app has to know; it is shown in this answer and never again."""

    id: UUID
    secret: str = Field(description="Base32, for those who type.")
    uri: str = Field(description="`otpauth://totp/…`")
    qr_png: str = Field(description="The URI as a QR code: a PNG in base64.")


class FactorEnrolled(BaseModel):
    """A factor that counts from now on; the session is as good as begun with it: refresh its tokens."""

    factor: FactorShown
    recovery_codes: list[str] | None = Field(
        description="With the first factor: each good once in place of one. Shown never again."
    )


class CodesShown(BaseModel):
    """Recovery codes, each good once. They are shown in this answer and never again."""

    recovery_codes: list[str]


class PasskeyOptions(BaseModel):
    """For the browser: `navigator.credentials`, `PublicKeyCredential.parse…OptionsFromJSON`."""

    options: dict[str, JsonValue]


@ROUTER.get("/factors", responses=documents.problems())
async def list_factors(gateway: Here, mine: User) -> FactorsShown:
    """List one's second factors, and how many recovery codes are left."""
    async with gateway.database.reading() as session:
        rows = await held(session, mine.user_id)
        count = await left(session, mine.user_id)
    return FactorsShown(items=[_shown(row) for row in rows], recovery_codes_left=count)


@ROUTER.post(
    "/factors/totp", status_code=201, responses=_TAKES, openapi_extra=documented(EnrolTotp)
)
async def begin_totp(
    gateway: Here, mine: Proven, wanted: Annotated[EnrolTotp, Depends(body(EnrolTotp))]
) -> TotpShown:
    """Begin to enrol an authenticator app. It counts once one of its codes has confirmed it."""
    made = await gateway.identity.factors.begin_totp(mine.user_id, wanted.name)
    picture = await asyncio.to_thread(qr_of, made.uri)
    shown = base64.b64encode(picture).decode()
    return TotpShown(id=made.id, secret=made.secret, uri=made.uri, qr_png=shown)


@ROUTER.post(
    "/factors/{factor_id}/confirm",
    responses=documents.problems(ErrorCode.NOT_FOUND, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(ConfirmTotp),
)
async def confirm_totp(
    factor_id: UUID,
    gateway: Here,
    asking: Asks,
    mine: Proven,
    wanted: Annotated[ConfirmTotp, Depends(body(ConfirmTotp))],
) -> FactorEnrolled:
    """Have an authenticator app count, by a code that it shows."""
    factors = gateway.identity.factors
    return _enrolled(await factors.confirm_totp(mine, factor_id, wanted.code, asking))


@ROUTER.post("/factors/passkey/options", responses=documents.problems())
async def ask_for_passkey(gateway: Here, mine: Proven) -> PasskeyOptions:
    """Begin to enrol a passkey: what `navigator.credentials.create()` is to be given."""
    return PasskeyOptions(options=await gateway.identity.factors.ask_for_passkey(mine.user_id))


@ROUTER.post(
    "/factors/passkey", status_code=201, responses=_TAKES, openapi_extra=documented(EnrolPasskey)
)
async def enrol_passkey(
    gateway: Here,
    asking: Asks,
    mine: Proven,
    wanted: Annotated[EnrolPasskey, Depends(body(EnrolPasskey))],
) -> FactorEnrolled:
    """Enrol the passkey that the browser has made."""
    factors = gateway.identity.factors
    return _enrolled(await factors.add_passkey(mine, wanted.name, wanted.passkey, asking))


@ROUTER.delete(
    "/factors/{factor_id}",
    status_code=204,
    responses=documents.problems(ErrorCode.NOT_FOUND),
)
async def remove_factor(factor_id: UUID, gateway: Here, asking: Asks, mine: Proven) -> Response:
    """Remove a second factor; with the last one the recovery codes go, too.

    What was raised by it is so no longer, in all sessions: refresh the tokens.
    """
    await gateway.identity.factors.remove(mine, factor_id, asking)
    return Response(status_code=204)


@ROUTER.post("/recovery-codes", status_code=201, responses=documents.problems(ErrorCode.CONFLICT))
async def make_recovery_codes(gateway: Here, asking: Asks, mine: Proven) -> CodesShown:
    """Have new recovery codes made; those of before are worth nothing."""
    codes = await gateway.identity.factors.remake_codes(mine.user_id, asking)
    return CodesShown(recovery_codes=codes)


@RESET.delete(
    "/{user_id}/factors", status_code=204, responses=documents.problems(ErrorCode.NOT_FOUND)
)
async def reset_factors(
    user_id: UUID,
    gateway: Here,
    asking: Asks,
    caller: Annotated[Caller, Depends(permit_platform("factor.reset"))],
) -> Response:
    """Take all second factors from a user who has lost them; admins of the platform. Sessions end."""
    await gateway.identity.factors.reset(user_id, caller.actor, asking)
    return Response(status_code=204)


def _enrolled(done: Enrolled) -> FactorEnrolled:
    return FactorEnrolled(factor=_shown(done.row), recovery_codes=done.recovery_codes)


def _shown(row: Row[Any]) -> FactorShown:
    return FactorShown.model_validate(row, from_attributes=True)
