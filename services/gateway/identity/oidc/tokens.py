"""What a provider signed: ID tokens and logout tokens, checked as their standards ask."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from joserfc import jws, jwt
from joserfc.errors import JoseError

from services.gateway.identity.oidc.claims import Claims
from services.gateway.identity.oidc.entry import LONGEST
from services.gateway.identity.oidc.provider import Provider, UntrustedError

SKEW = timedelta(seconds=60)
OLDEST = timedelta(minutes=10)
"""A token that was signed longer ago is not what was asked for now."""
MAX_LENGTH = 65536
_ALGORITHMS = {
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
}
"""What is signed with a private key. `none`, and secrets that both sides have, are not among them."""
_LOGOUT = "http://schemas.openid.net/event/backchannel-logout"


@dataclass(frozen=True)
class LoggedOut:
    """Of whom a provider says that they are: of one session there, or of all."""

    subject: str | None
    sid: str | None
    token_id: str
    until: datetime
    """When the token ceases to hold."""


async def check_id_token(provider: Provider, token: str, nonce: str, now: datetime) -> Claims:
    """What an ID token says; UntrustedError (OpenID Connect Core 1.0, 3.1.3.7)."""
    claims = await _checked(provider, token, {None, "JWT"}, now)
    if claims.get("nonce") != nonce:
        raise UntrustedError("the nonce is another one")
    parties: object = claims.get("aud")
    party = claims.get("azp")
    is_for_many = isinstance(parties, list) and len(cast("list[object]", parties)) > 1
    if party != provider.settings.client_id and (party is not None or is_for_many):
        raise UntrustedError("it was made for somebody else")
    _moment(claims, "exp")
    _name(claims, "sub")
    return claims


async def check_logout_token(provider: Provider, token: str, now: datetime) -> LoggedOut:
    """What a logout token says; UntrustedError (OpenID Connect Back-Channel Logout 1.0, 2.6)."""
    claims = await _checked(provider, token, {None, "JWT", "LOGOUT+JWT"}, now)
    events: object = claims.get("events")
    told = cast("dict[str, object]", events) if isinstance(events, dict) else {}
    if not isinstance(told.get(_LOGOUT), dict):
        raise UntrustedError("it tells of no logout")
    if "nonce" in claims:
        raise UntrustedError("it is an ID token")
    subject, sid = (_name(claims, n) if n in claims else None for n in ("sub", "sid"))
    if subject is None and sid is None:
        raise UntrustedError("it says nobody")
    until = _moment(claims, "iat") + OLDEST + 2 * SKEW
    return LoggedOut(subject, sid, _name(claims, "jti"), until)


async def _checked(
    provider: Provider, token: str, kinds: set[str | None], now: datetime
) -> dict[str, Any]:
    """The claims of a token of this provider, for this gateway, made just now."""
    if len(token) > MAX_LENGTH or not token.isascii():
        raise UntrustedError("it is no token")
    claims = await _verified(provider, token, kinds)
    rules = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=int(SKEW.total_seconds()),
        iss={"essential": True, "value": provider.settings.issuer},
        aud={"essential": True, "value": provider.settings.client_id},
        iat={"essential": True},
    )
    try:
        rules.validate(claims)
    except (JoseError, ValueError, TypeError) as error:
        raise UntrustedError(f"a claim does not hold: {type(error).__name__}") from error
    if not now - OLDEST - SKEW <= _moment(claims, "iat") <= now + SKEW:
        raise UntrustedError("it is of another time")
    return claims


async def _verified(provider: Provider, token: str, kinds: set[str | None]) -> dict[str, Any]:
    header = _header(token)
    offered = (await provider.metadata()).id_token_signing_alg_values_supported
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if algorithm not in _ALGORITHMS.intersection(offered):
        raise UntrustedError("it is signed in a way that is not taken")
    if (kind.upper() if isinstance(kind, str) else kind) not in kinds:
        raise UntrustedError("it is another kind of token")
    keys = await provider.keys(key_id if isinstance(key_id, str) else None)
    for key in keys:
        try:
            return jwt.decode(token, key, algorithms=[algorithm]).claims
        except (JoseError, ValueError, TypeError):
            continue
    raise UntrustedError("none of the provider's keys signed it")


def _header(token: str) -> Mapping[str, Any]:
    try:
        return jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError) as error:
        raise UntrustedError("it is no token") from error


def _name(claims: Mapping[str, Any], claim: str) -> str:
    said = claims.get(claim)
    if not isinstance(said, str) or not 0 < len(said) <= LONGEST or "\x00" in said:
        raise UntrustedError(f"{claim} is none")
    return said


def _moment(claims: Mapping[str, Any], claim: str) -> datetime:
    said = claims.get(claim)
    if not isinstance(said, int | float) or isinstance(said, bool):
        raise UntrustedError(f"{claim} is none")
    try:
        return datetime.fromtimestamp(said, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise UntrustedError(f"{claim} is none") from error
