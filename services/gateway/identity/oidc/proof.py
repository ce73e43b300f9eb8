"""How the gateway proves to a provider who it is: by a secret, or by a key that never leaves it."""

import json
from datetime import datetime, timedelta
from urllib.parse import quote

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

from chassis.ids import new_id
from services.gateway.identity.oidc.settings import OidcProvider

LIFETIME = timedelta(minutes=1)
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ALGORITHMS: dict[type[Key], str] = {RSAKey: "RS256", ECKey: "ES256", OKPKey: "Ed25519"}


class UnusableKeyError(ValueError):
    """The key in the file is none that signs."""


def by_basic(settings: OidcProvider) -> str:
    """The header `Authorization` of `client_secret_basic`."""
    # RFC 6749, 2.3.1: both are encoded like a form before they are like a header.
    name, secret = quote(settings.client_id, safe=""), quote(settings.secret(), safe="")
    request = httpx.Request("POST", settings.issuer)
    return next(httpx.BasicAuth(name, secret).auth_flow(request)).headers["Authorization"]


def by_post(settings: OidcProvider) -> dict[str, str]:
    """What stands in the form with `client_secret_post`."""
    return {"client_id": settings.client_id, "client_secret": settings.secret()}


def by_key(settings: OidcProvider, audience: str, now: datetime) -> dict[str, str]:
    """What stands in the form with `private_key_jwt` (RFC 7523, 2.2); UnusableKeyError.

    The file is read each time, so it may be changed.
    """
    key = _key(settings)
    algorithm = str(key.as_dict(private=False).get("alg") or _ALGORITHMS[type(key)])
    header = {"alg": algorithm, **({"kid": key.kid} if key.kid else {})}
    claims = {
        "iss": settings.client_id,
        "sub": settings.client_id,
        "aud": audience,
        "jti": str(new_id()),
        "iat": int(now.timestamp()),
        "exp": int((now + LIFETIME).timestamp()),
    }
    try:
        signed = jwt.encode(header, claims, key, algorithms=[algorithm])
    except (JoseError, ValueError) as error:
        raise UnusableKeyError("the key does not sign") from error
    return {
        "client_id": settings.client_id,
        "client_assertion_type": ASSERTION,
        "client_assertion": signed,
    }


def _key(settings: OidcProvider) -> Key:
    assert settings.client_key_file is not None  # noqa: S101 - the caller's word
    try:
        key = import_key(json.loads(settings.client_key_file.read_text()))
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise UnusableKeyError("the file holds no JWK") from error
    if type(key) not in _ALGORITHMS or not key.is_private:
        raise UnusableKeyError("the file holds no private key")
    return key
