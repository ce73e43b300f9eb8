"""Logging in by other providers (OpenID Connect): there, back again, and out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from chassis.problems import invalid
from contracts.errors import ErrorCode
from services.gateway import documents
from services.gateway.bodies import body, documented
from services.gateway.context import Gateway, Here
from services.gateway.forms import documented_form, read_form
from services.gateway.identity.oidc.arrival import Returned
from services.gateway.identity.oidc.attempts import LIFETIME
from services.gateway.identity.saying import Asks
from services.gateway.identity.sessions import Open
from services.gateway.routes.auth import (
    HALF_DONE,
    RefreshTokens,
    Tokens,
    second_factor_wanted,
    tokens_of,
)
from services.gateway.routes.guard import unguarded

ROUTER = unguarded("/auth/oidc", "auth")
BACK = APIRouter(prefix="/v1/auth/oidc", tags=["auth"])
"""Where providers send browsers: with parameters that nobody knows, which are passed over (RFC 6749, 4.1.2)."""
_Text = Annotated[str | None, Query(max_length=4096)]


class ProviderShown(BaseModel):
    """A provider by which users log in."""

    name: str
    login_url: str = Field(description="Send a browser there.")


class Providers(BaseModel):
    """The providers that the settings name."""

    items: list[ProviderShown]


class LoggedOutThere(BaseModel):
    """What a provider sends when somebody logs out there."""

    model_config = ConfigDict(frozen=True)

    logout_token: str


class Logout(BaseModel):
    """What is left to do by a browser."""

    logout_url: str | None = Field(
        description="Ends the session at the provider; null if it cannot be ended there."
    )


BODIES = (LoggedOutThere,)


@ROUTER.get("", responses=documents.problems())
async def list_providers(gateway: Here) -> Providers:
    """List the providers by which users can log in."""
    names = gateway.identity.arrivals.providers
    url = f"{gateway.settings.public_url}/v1/auth/oidc"
    return Providers(
        items=[ProviderShown(name=each, login_url=f"{url}/{each}/login") for each in names]
    )


@ROUTER.get(
    "/{provider}/login",
    status_code=303,
    responses={
        303: {"description": "To the provider.", "headers": {"Location": {"schema": {}}}},
        **documents.problems(ErrorCode.NOT_FOUND),
    },
    response_class=Response,
)
async def begin_login(provider: str, gateway: Here) -> Response:
    """Begin a login: sends the browser to the provider, with a cookie to come back with."""
    url, cookie = await gateway.identity.arrivals.begin(provider)
    answer = Response(status_code=303, headers={"Location": url})
    answer.set_cookie(
        cookie_name(gateway),
        cookie,
        max_age=int(LIFETIME.total_seconds()),
        secure=_is_secure(gateway),
        httponly=True,
        samesite="lax",
    )
    return answer


@BACK.get(
    "/{provider}/callback",
    response_model=Tokens,
    responses=documents.problems(ErrorCode.NOT_FOUND) | HALF_DONE,
)
async def end_login(
    *,
    provider: str,
    request: Request,
    gateway: Here,
    asking: Asks,
    state: _Text = None,
    code: _Text = None,
    iss: _Text = None,
    error: _Text = None,
) -> Response:
    """End a login: the tokens of a session, for a browser that comes back with what the provider gave.

    Who has a second factor here gets a 202, unless the provider is trusted with it, and comes with it next.
    """
    said = {"state": state, "code": code, "iss": iss, "error": error}
    twice = [name for name in said if len(request.query_params.getlist(name)) > 1]
    if twice:
        raise invalid(f"query.{twice[0]}", "Is there more than once.")
    query = {name: value for name, value in said.items() if value is not None}
    returned = Returned(query, request.cookies.get(cookie_name(gateway)))
    entered = await gateway.identity.arrivals.end(provider, returned, asking)
    if isinstance(entered, Open):
        answer = JSONResponse((await tokens_of(gateway, entered)).model_dump(mode="json"))
    else:
        answer = second_factor_wanted(gateway, entered)
    answer.delete_cookie(
        cookie_name(gateway), secure=_is_secure(gateway), httponly=True, samesite="lax"
    )
    return answer


@ROUTER.post(
    "/{provider}/logout",
    responses=documents.problems(ErrorCode.NOT_FOUND, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented(RefreshTokens),
)
async def log_out_there(
    provider: str,
    gateway: Here,
    asking: Asks,
    wanted: Annotated[RefreshTokens, Depends(body(RefreshTokens))],
) -> Logout:
    """End a session here, and be told where a browser ends it at the provider."""
    arrivals = gateway.identity.arrivals
    return Logout(logout_url=await arrivals.leave(provider, wanted.refresh_token, asking))


@BACK.post(
    "/{provider}/backchannel-logout",
    responses=documents.problems(ErrorCode.NOT_FOUND, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    openapi_extra=documented_form(LoggedOutThere),
)
async def hear_of_logout(
    provider: str, request: Request, gateway: Here, asking: Asks
) -> dict[str, int]:
    """For providers: end the sessions of somebody who logged out there (Back-Channel Logout 1.0)."""
    token = (await read_form(request)).get("logout_token", "")
    return {"sessions": await gateway.identity.arrivals.logged_out(provider, token, asking)}


def cookie_name(gateway: Gateway) -> str:
    """Where HTTPS is used, one that no other host can set (RFC 6265bis, 4.1.3.2)."""
    return "__Host-hostler-login" if _is_secure(gateway) else "hostler-login"


def _is_secure(gateway: Gateway) -> bool:
    return gateway.settings.public_url.startswith("https:")
