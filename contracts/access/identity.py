"""What happens to users, their sessions and the keys that vouch for them. No secrets, no addresses of mail.

`alias` is a keyed hash of the e-mail address that was given: the same for the same address, so
that tries at one account show, whether there is such an account or not.
"""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, JsonValue

from contracts.identity import Role
from contracts.message import Event

Alias = Annotated[str, Field(description="A keyed hash of the e-mail address.")]
Address = Annotated[str | None, Field(description="Where the request came from.")]
Factor = Literal["totp", "passkey"]
Ended = Literal["logout", "logout_everywhere", "reuse", "password", "state", "provider"]


class UserInvited(Event):
    """An admin made a user, who is sent a link."""

    type: Literal["user.invited.v1"] = "user.invited.v1"
    user_id: UUID
    memberships: dict[str, Role] = Field(description="Project → role.")
    is_admin: bool = Field(description="Admin of the platform.")


class UserRegistered(Event):
    """Somebody registered; the account is theirs once they follow the link."""

    type: Literal["user.registered.v1"] = "user.registered.v1"
    user_id: UUID


class UserActivated(Event):
    """A user followed the link and chose a password: the e-mail address is theirs."""

    type: Literal["user.activated.v1"] = "user.activated.v1"
    user_id: UUID


class UserChanged(Event):
    """Something of a user was changed; of the e-mail address only its `alias` is told."""

    type: Literal["user.changed.v1"] = "user.changed.v1"
    user_id: UUID
    old: dict[str, JsonValue]
    new: dict[str, JsonValue]


class UserLocked(Event):
    """Too many wrong passwords: logins are refused for a while, right or wrong."""

    type: Literal["user.locked.v1"] = "user.locked.v1"
    user_id: UUID
    failures: int
    until: datetime


class PasswordSet(Event):
    """A user has another password than before."""

    type: Literal["password.set.v1"] = "password.set.v1"
    user_id: UUID
    by: Literal["link", "change"]


class LinkAsked(Event):
    """Somebody asked for a link to be sent, for an account that may be there or not."""

    type: Literal["link.asked.v1"] = "link.asked.v1"
    alias: Alias
    purpose: Literal["password", "registration", "email"]
    address: Address = None


class LoginFailed(Event):
    """A login was refused: no such account, not active, locked, or a wrong password."""

    type: Literal["login.failed.v1"] = "login.failed.v1"
    alias: Alias
    user_id: UUID | None = Field(default=None, description="Null: no password was compared.")
    address: Address = None


class SessionOpened(Event):
    """A user logged in."""

    type: Literal["session.opened.v1"] = "session.opened.v1"
    user_id: UUID
    session_id: UUID
    address: Address = None
    amr: tuple[str, ...] = Field(default=(), description="How they proved it was them (RFC 8176).")


class SessionClosed(Event):
    """A session has ended before its time: its tokens are refused from now on."""

    type: Literal["session.closed.v1"] = "session.closed.v1"
    user_id: UUID
    session_id: UUID
    why: Ended


class RefreshReused(Event):
    """A refresh token came that had been used: somebody has a copy, or asked twice at once."""

    type: Literal["refresh.reused.v1"] = "refresh.reused.v1"
    user_id: UUID
    session_id: UUID
    address: Address = None
    closed: bool = Field(description="False within the seconds in which it may be a double.")


class FactorAsked(Event):
    """A password was right, and a second factor was asked for: no session yet."""

    type: Literal["factor.asked.v1"] = "factor.asked.v1"
    user_id: UUID
    address: Address = None


class FactorEnrolled(Event):
    """A user has one more second factor, and has shown that they hold it."""

    type: Literal["factor.enrolled.v1"] = "factor.enrolled.v1"
    user_id: UUID
    factor_id: UUID
    kind: Factor


class FactorRemoved(Event):
    """A user removed a second factor."""

    type: Literal["factor.removed.v1"] = "factor.removed.v1"
    user_id: UUID
    factor_id: UUID
    kind: Factor
    left: int = Field(description="How many second factors the user still has.")


class FactorFailed(Event):
    """A second factor was refused."""

    type: Literal["factor.failed.v1"] = "factor.failed.v1"
    user_id: UUID
    kind: Factor | Literal["recovery_code"]
    at: Literal["login", "step_up"]
    why: Literal["wrong", "replayed", "copied", "locked"] = Field(
        description="`replayed`: the code was used before. `copied`: the passkey's counter went "
        "back, so there may be a copy of it. `locked`: not compared, after too many wrong ones."
    )
    locked_until: datetime | None = None
    address: Address = None


class FactorsReset(Event):
    """An admin of the platform took all second factors from a user."""

    type: Literal["factors.reset.v1"] = "factors.reset.v1"
    user_id: UUID
    removed: int = Field(description="How many there were.")


class RecoveryCodesMade(Event):
    """A user was shown new recovery codes; those of before are worth nothing."""

    type: Literal["recovery_codes.made.v1"] = "recovery_codes.made.v1"
    user_id: UUID
    count: int


class RecoveryCodeUsed(Event):
    """A recovery code was used up in place of a second factor."""

    type: Literal["recovery_code.used.v1"] = "recovery_code.used.v1"
    user_id: UUID
    left: int


class SessionRaised(Event):
    """A user proved anew, within a session, that it is them."""

    type: Literal["session.raised.v1"] = "session.raised.v1"
    user_id: UUID
    session_id: UUID
    amr: tuple[str, ...] = Field(description="How (RFC 8176).")
    address: Address = None


class TokenKeyMade(Event):
    """There is a new key that access tokens are signed with."""

    type: Literal["token_key.made.v1"] = "token_key.made.v1"
    key_id: str
    active_at: datetime
    retired: tuple[str, ...] = Field(description="Keys whose tokens are refused from now on.")


IdentityEvent = Annotated[
    UserInvited
    | UserRegistered
    | UserActivated
    | UserChanged
    | UserLocked
    | PasswordSet
    | LinkAsked
    | LoginFailed
    | SessionOpened
    | SessionClosed
    | RefreshReused
    | FactorAsked
    | FactorEnrolled
    | FactorRemoved
    | FactorFailed
    | FactorsReset
    | RecoveryCodesMade
    | RecoveryCodeUsed
    | SessionRaised
    | TokenKeyMade,
    Field(discriminator="type"),
]
