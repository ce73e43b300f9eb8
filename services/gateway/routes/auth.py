"""Coming in and going out: login, refresh, logout; links that were mailed; the keys that sign tokens."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.outbox import say
from contracts.access.identity import LinkAsked
from contracts.errors import ErrorCode
from contracts.vm.fields import Name
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Gateway, Here
from services.gateway.identity.emails import Email
from services.gateway.identity.halfway import Halfway
from services.gateway.identity.methods import ProofKind
from services.gateway.identity.permission import permit_platform
from services.gateway.identity.post import Kind
from services.gateway.identity.saying import SOURCE, Asking, Asks, told, user
from services.gateway.identity.sessions import Open
from services.gateway.identity.tables import SESSIONS
from services.gateway.identity.users import change
from services.gateway.locks import exclusively
from services.gateway.routes.guard import personal, unguarded
from services.gateway.routes.me import User

ROUTER = unguarded("/auth", "auth")
KNOWN = personal("/auth", "auth")
PUBLIC = APIRouter(tags=["auth"])
_KEY_SET_SECONDS = 60
_WITH_BODY = documents.problems(ErrorCode.UNSUPPORTED_MEDIA_TYPE)
Password = Annotated[str, Field(min_length=1, max_length=512, examples=["kettle-otter-sunday-19"])]
Token = Annotated[str, Field(min_length=1, max_length=1024)]


class Asked(BaseModel):
    """What a body may hold is said by its class, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LogIn(Asked):
    """Who wants to come in."""

    email: str = Field(max_length=254, examples=["ada@example.org"])
    password: Password


class RefreshTokens(Asked):
    """A session that is to go on, or to end."""

    refresh_token: Token


class AskForLink(Asked):
    """Somebody who has forgotten their password."""

    email: Email


class Register(Asked):
    """Somebody who wants an account. The password is chosen with the link that is mailed."""

    email: Email
    name: Name


class SetPassword(Asked):
    """What came by mail, and the password."""

    token: Token
    password: Password


class ConfirmEmail(Asked):
    """What came by mail."""

    token: Token


class MakeTokenKey(Asked):
    """A new key for access tokens."""

    retire: bool = Field(
        default=False,
        description="Refuse at once what was signed with the keys of before: somebody has a copy.",
    )


BODIES = (
    LogIn,
    RefreshTokens,
    AskForLink,
    Register,
    SetPassword,
    ConfirmEmail,
    MakeTokenKey,
)


class Tokens(BaseModel):
    """What a session goes on with."""

    access_token: str = Field(description="Send it as `Authorization: Bearer …`.")
    token_type: str = "Bearer"  # noqa: S105 - its type
    expires_in: int = Field(description="Seconds for which the access token works.")
    refresh_token: str = Field(description="Good once: the answer holds the next one.")
    refresh_expires_in: int
    session_id: UUID


class SecondFactorWanted(BaseModel):
    """Password or provider said yes, and a second factor is to come: `POST /v1/auth/second-factor`."""

    mfa_token: str = Field(description="Good for that alone, and once.")
    kinds: list[ProofKind] = Field(description="What may come.")
    expires_in: int


HALF_DONE: dict[int | str, dict[str, Any]] = {
    202: {"model": SecondFactorWanted, "description": "A second factor is to come."}
}


class TokenKey(BaseModel):
    """A key that was made."""

    kid: str
    active_at: str
    retired: list[str]


class KeySet(BaseModel):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, str]]


@ROUTER.post(
    "/login",
    response_model=Tokens,
    responses=_WITH_BODY | HALF_DONE,
    openapi_extra=documented(LogIn),
)
async def log_in(
    gateway: Here, asking: Asks, wanted: Annotated[LogIn, Depends(body(LogIn))]
) -> Tokens | JSONResponse:
    """Log in with a password.

    Whatever is wrong, the answer is the same. After some wrong passwords an account is locked for
    30 seconds, then for longer. Who has a second factor gets a 202, and comes with it next.
    """
    entered = await gateway.identity.login.enter(wanted.email, wanted.password, asking)
    if isinstance(entered, Open):
        return await tokens_of(gateway, entered)
    return second_factor_wanted(gateway, entered)


@ROUTER.post(
    "/refresh",
    responses=documents.problems(ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(RefreshTokens),
)
async def refresh_tokens(
    gateway: Here, asking: Asks, wanted: Annotated[RefreshTokens, Depends(body(RefreshTokens))]
) -> Tokens:
    """Go on with a session: new tokens for a refresh token, which is used up by it.

    One that comes again ends the session; within ten seconds, when it may be a double, it is a 409.
    """
    opened = await gateway.identity.sessions.refresh(wanted.refresh_token, asking)
    return await tokens_of(gateway, opened)


@ROUTER.post(
    "/logout", status_code=204, responses=_WITH_BODY, openapi_extra=documented(RefreshTokens)
)
async def log_out(
    gateway: Here, asking: Asks, wanted: Annotated[RefreshTokens, Depends(body(RefreshTokens))]
) -> Response:
    """End a session. Its access tokens work for five seconds more at other gateways."""
    await gateway.identity.sessions.end(wanted.refresh_token, asking)
    return Response(status_code=204)


@KNOWN.post("/logout-everywhere", status_code=204, responses=documents.problems())
async def log_out_everywhere(gateway: Here, asking: Asks, mine: User) -> Response:
    """End all sessions of the caller, this one too."""
    identity = gateway.identity
    async with gateway.database.session() as session:
        await change(session, mine, gateway.clock(), retoken=True)  # the user's row first, always
        theirs, actor = SESSIONS.c.user_id == mine, user(mine)
        await identity.sessions.close(
            session, theirs, "logout_everywhere", actor=actor, asking=asking
        )
    identity.sessions.forget()
    return Response(status_code=204)


@ROUTER.post("/forgot", status_code=202, responses=_WITH_BODY, openapi_extra=documented(AskForLink))
async def ask_for_password(
    gateway: Here, asking: Asks, wanted: Annotated[AskForLink, Depends(body(AskForLink))]
) -> Response:
    """Have a link to a new password mailed, if there is such an account; the answer is the same."""
    await _ask(gateway, asking, "forgotten", wanted.email)
    return Response(status_code=202)


@ROUTER.post("/register", status_code=202, responses=_WITH_BODY, openapi_extra=documented(Register))
async def register(
    gateway: Here, asking: Asks, wanted: Annotated[Register, Depends(body(Register))]
) -> Response:
    """Ask for an account where that is open to all; a link is mailed. The answer is always the same."""
    if gateway.settings.registration != "open":
        raise Terminal(ErrorCode.FORBIDDEN, "Accounts are made by admins here.")
    await _ask(gateway, asking, "registration", wanted.email, wanted.name)
    return Response(status_code=202)


@ROUTER.post(
    "/password",
    status_code=204,
    responses=documents.problems(ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(SetPassword),
)
async def set_password(
    gateway: Here, asking: Asks, wanted: Annotated[SetPassword, Depends(body(SetPassword))]
) -> Response:
    """Choose a password by a link of an invitation, a registration or a reset. All sessions end."""
    await gateway.identity.passing.set_by_link(wanted.token, wanted.password, asking)
    gateway.keys.forget()
    return Response(status_code=204)


@ROUTER.post(
    "/email",
    status_code=204,
    responses=documents.problems(ErrorCode.CONFLICT, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(ConfirmEmail),
)
async def confirm_email(
    gateway: Here, asking: Asks, wanted: Annotated[ConfirmEmail, Depends(body(ConfirmEmail))]
) -> Response:
    """Take the e-mail address that the link was sent to."""
    await gateway.identity.passing.set_address(wanted.token, asking)
    return Response(status_code=204)


@KNOWN.post(
    "/token-keys", status_code=201, responses=_WITH_BODY, openapi_extra=documented(MakeTokenKey)
)
async def make_token_key(
    gateway: Here,
    asking: Asks,
    caller: Annotated[Caller, Depends(permit_platform("token_key.make"))],
    wanted: Annotated[MakeTokenKey, Depends(body(MakeTokenKey))],
) -> TokenKey:
    """Have access tokens signed with a new key; admins of the platform."""
    keyring = gateway.identity.keyring
    async with gateway.database.session() as session:
        await exclusively(session, "signing-keys")
        made = await keyring.make(
            session, actor=caller.actor, retire=wanted.retire, request_id=asking.request_id
        )
    await keyring.read()
    return TokenKey(
        kid=made.key_id, active_at=made.active_at.isoformat(), retired=list(made.retired)
    )


@PUBLIC.get("/.well-known/jwks.json", responses=documents.problems())
async def show_key_set(gateway: Here, response: Response) -> KeySet:
    """The public keys by which access tokens can be checked, those to come included."""
    response.headers["Cache-Control"] = f"public, max-age={_KEY_SET_SECONDS}"
    return KeySet(keys=[each.shown() for each in await gateway.identity.keyring.published()])


async def tokens_of(gateway: Gateway, opened: Open) -> Tokens:
    """The answer to whoever opened, or refreshed, a session."""
    left = opened.expires_at - gateway.clock()
    return Tokens(
        access_token=await gateway.identity.access_token(opened),
        expires_in=int(gateway.settings.access_token_lifetime.total_seconds()),
        refresh_token=opened.refresh_token,
        refresh_expires_in=int(left.total_seconds()),
        session_id=opened.id,
    )


def second_factor_wanted(gateway: Gateway, half: Halfway) -> JSONResponse:
    """The answer to whoever has begun a login and has to show a second factor."""
    left = half.expires_at - gateway.clock()
    asked = SecondFactorWanted(
        mfa_token=half.token, kinds=list(half.kinds), expires_in=int(left.total_seconds())
    )
    return JSONResponse(asked.model_dump(mode="json"), status_code=202)


async def _ask(
    gateway: Gateway, asking: Asking, kind: Kind, email: str, name: str | None = None
) -> None:
    """The same rows whoever it is: only who sends the mail finds out whether there is an account."""
    alias = gateway.identity.aliases.of(email)
    purpose = "registration" if kind == "registration" else "password"
    asked = LinkAsked(alias=alias, purpose=purpose, address=asking.address)
    message = told(
        asked, gateway.clock(), subject=alias, actor=SOURCE, request_id=asking.request_id
    )
    async with gateway.database.session() as session:
        await gateway.identity.post.take(session, kind, email, name=name)
        await say(session, message)
