"""The second half of a login, logins by passkey, and step-up within a session."""

from typing import Annotated

from fastapi import Depends
from pydantic import BaseModel, Field

from contracts.errors import ErrorCode
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Here
from services.gateway.identity.halfway import MAX_LENGTH
from services.gateway.identity.proofs import Answer, Proof
from services.gateway.identity.saying import Asks
from services.gateway.routes.auth import Asked, Password, Tokens, tokens_of
from services.gateway.routes.factors import PasskeyOptions, User
from services.gateway.routes.guard import personal, unguarded

ROUTER = unguarded("/auth", "second factors")
KNOWN = personal("/auth", "second factors")
_WITH_BODY = documents.problems(ErrorCode.UNSUPPORTED_MEDIA_TYPE)


MfaToken = Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)]


class AskForPasskey(Asked):
    """A login that is half done."""

    mfa_token: MfaToken


class SecondFactor(Proof):
    """A login that is half done, and what finishes it."""

    mfa_token: MfaToken


class EnterByPasskey(Asked):
    """What a browser made of the options."""

    passkey: Answer


class StepUp(Proof):
    """A second factor; of a user who has none, the password."""

    ways = (*Proof.ways, "password")

    password: Password | None = None


BODIES = (AskForPasskey, SecondFactor, EnterByPasskey, StepUp)


class AccessToken(BaseModel):
    """Another access token for the same session; its refresh token stays as it is."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - its type
    expires_in: int


@ROUTER.post("/second-factor", responses=_WITH_BODY, openapi_extra=documented(SecondFactor))
async def finish_login(
    gateway: Here, asking: Asks, wanted: Annotated[SecondFactor, Depends(body(SecondFactor))]
) -> Tokens:
    """Finish a login with a second factor.

    After some wrong codes no more are compared for 30 seconds, then for longer; passkeys still are.
    """
    opened = await gateway.identity.login.finish(wanted.mfa_token, wanted, asking)
    return await tokens_of(gateway, opened)


@ROUTER.post(
    "/second-factor/options", responses=_WITH_BODY, openapi_extra=documented(AskForPasskey)
)
async def ask_for_second_passkey(
    gateway: Here, wanted: Annotated[AskForPasskey, Depends(body(AskForPasskey))]
) -> PasskeyOptions:
    """What `navigator.credentials.get()` is to be given, to finish a login with a passkey."""
    options = await gateway.identity.login.ask_for_passkey(wanted.mfa_token)
    return PasskeyOptions(options=options)


@ROUTER.post("/passkey/options", responses=documents.problems())
async def ask_for_passkey(gateway: Here) -> PasskeyOptions:
    """What `navigator.credentials.get()` is to be given, to log in with a passkey alone."""
    return PasskeyOptions(options=await gateway.identity.login.ask_for_any_passkey())


@ROUTER.post("/passkey", responses=_WITH_BODY, openapi_extra=documented(EnterByPasskey))
async def enter_by_passkey(
    gateway: Here, asking: Asks, wanted: Annotated[EnterByPasskey, Depends(body(EnterByPasskey))]
) -> Tokens:
    """Log in with a passkey, without a password."""
    opened = await gateway.identity.login.enter_by_passkey(wanted.passkey, asking)
    return await tokens_of(gateway, opened)


@KNOWN.post("/step-up", responses=_WITH_BODY, openapi_extra=documented(StepUp))
async def step_up(
    gateway: Here, asking: Asks, mine: User, wanted: Annotated[StepUp, Depends(body(StepUp))]
) -> AccessToken:
    """Prove within a session that it is you, for what asks for that: a second factor, else the password."""
    identity = gateway.identity
    if wanted.password is not None:
        shown = await identity.step_up.by_password(mine, wanted.password, asking)
    else:
        shown = await identity.step_up.by_factor(mine, wanted, asking)
    token = await identity.token_of(mine.user_id, mine.session_id, shown)
    lifetime = int(gateway.settings.access_token_lifetime.total_seconds())
    return AccessToken(access_token=token, expires_in=lifetime)


@KNOWN.post("/step-up/options", responses=documents.problems())
async def ask_for_step_up_passkey(gateway: Here, mine: User) -> PasskeyOptions:
    """What `navigator.credentials.get()` is to be given, to step up with a passkey."""
    return PasskeyOptions(options=await gateway.identity.step_up.ask_for_passkey(mine))
