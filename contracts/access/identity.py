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
    | TokenKeyMade,
    Field(discriminator="type"),
]
