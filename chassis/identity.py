"""Who is asking: the caller of a request, and how one service proves it to another."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from pydantic import SecretStr

from chassis.errors import Terminal
from contracts.errors import ErrorCode
from contracts.identity import Role, allows

TTL = timedelta(seconds=60)
_ALGORITHMS = ["HS256"]
_MIN_SECRET = 32


@dataclass(frozen=True)
class Caller:
    """An authenticated caller, acting in one project; in none where `project_id` is empty."""

    actor: str
    project_id: str
    role: Role
    scopes: tuple[str, ...] | None = None
    """What it has of its role's permissions; None: all of them."""
    user_id: UUID | None = None
    session_id: UUID | None = None
    key_id: UUID | None = None
    service_account_id: UUID | None = None
    """Where it came with an access token of one."""
    is_platform_admin: bool = False
    allowed_cidrs: tuple[str, ...] | None = None
    """The networks from which its credential may be used; None: from anywhere."""
    within: Role | None = None
    """The role of whose key it is, user or service account: it can do no more than they can."""
    owned_by: str = ""
    """Who owns what it makes, where that is not the caller: of a key, the user who made it."""
    granted: frozenset[str] | None = None
    """What the policy gives its role; None: what roles cover by themselves."""
    is_private: bool = False
    """It sees of its project what is its own, and what is shared with it."""
    override: str = ""
    """Why an admin of the platform acts in a project that they are not in; empty: they do not."""

    @property
    def owner(self) -> str:
        """Who owns what the caller makes."""
        return self.owned_by or self.actor

    def has(self, permission: str) -> bool:
        """Whether its scopes stand for `permission`, whatever its role is."""
        return self.scopes is None or allows(self.scopes, permission)

    def may(self, role: Role, permission: str) -> bool:
        """Whether its role covers `role`, or is given `permission`, and its scopes stand for that."""
        return self._is_given(role, permission) and self.has(permission)

    def needs(self, role: Role, permission: str) -> None:
        """Terminal(FORBIDDEN) unless it `may`."""
        if not self._is_given(role, permission):
            sentence = f"{permission} asks for the role {role}; the caller's is {self.role}."
            raise Terminal(ErrorCode.FORBIDDEN, sentence)
        if not self.has(permission):
            raise Terminal(ErrorCode.FORBIDDEN, f"None of the caller's scopes is {permission}.")

    def _is_given(self, role: Role, permission: str) -> bool:
        if self.granted is not None:
            return permission in self.granted
        return self.role.covers(role) and (self.within is None or self.within.covers(role))


class Vouching:
    """Signs a caller for another service, and checks what was signed: a JWT that lives a minute."""

    def __init__(self, secret: SecretStr) -> None:
        if len(secret.get_secret_value()) < _MIN_SECRET:
            raise ValueError(
                "HOSTLER_INTERNAL_SECRET: needs 32 characters or more, the same in gateway and "
                "audit; `openssl rand -hex 32` makes one"
            )
        self._key = OctKey.import_key(secret.get_secret_value())

    def sign(self, caller: Caller, audience: str, now: datetime) -> str:
        """A token by which `audience` knows that the gateway vouches for `caller`."""
        claims = {
            "iss": "hostler/gateway",
            "aud": audience,
            "sub": caller.actor,
            "project_id": caller.project_id,
            "role": caller.role.value,
            "iat": int(now.timestamp()),
            "exp": int((now + TTL).timestamp()),
        }
        return jwt.encode({"alg": "HS256"}, claims, self._key, algorithms=_ALGORITHMS)

    def check(self, token: str, audience: str, now: datetime) -> Caller:
        """The caller that a token vouches for; Terminal(UNAUTHENTICATED) if it does not hold."""
        rules = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=5,
            iss={"essential": True, "value": "hostler/gateway"},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(token, self._key, algorithms=_ALGORITHMS).claims
            rules.validate(claims)
            return Caller(str(claims["sub"]), str(claims["project_id"]), Role(claims["role"]))
        except (JoseError, ValueError, KeyError) as error:
            detail = "The identity that came with the request does not hold."
            raise Terminal(ErrorCode.UNAUTHENTICATED, detail) from error
