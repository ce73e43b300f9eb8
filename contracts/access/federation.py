"""Those who come with an identity from elsewhere, and service accounts. No secrets, no addresses of mail."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, JsonValue

from contracts.access.identity import Address, Alias
from contracts.identity import Role
from contracts.message import Event

Provider = Annotated[str, Field(description="The provider's name in the settings.")]


class IdentityLinked(Event):
    """An identity at a provider is bound to a user from now on: to a new one, or to one with its address."""

    type: Literal["identity.linked.v1"] = "identity.linked.v1"
    user_id: UUID
    provider: Provider
    by: Literal["creation", "email"]


class IdentityUsed(Event):
    """A user came in by a provider; `session.opened` tells of the session, too."""

    type: Literal["identity.used.v1"] = "identity.used.v1"
    user_id: UUID
    session_id: UUID
    provider: Provider
    address: Address = None


class IdentityRefused(Event):
    """Somebody whom a provider vouches for, or seems to, was not let in."""

    type: Literal["identity.refused.v1"] = "identity.refused.v1"
    provider: Provider
    why: Literal[
        "browser", "replayed", "provider", "token", "email", "taken", "closed", "state", "logout"
    ] = Field(
        description="`browser`: the login was begun elsewhere, or not here; `replayed`: it was "
        "ended already; `provider`: it said no; `token`: what it signed does not hold; `email`: it "
        "does not vouch for the address; `taken`: the address has an account; `closed`: no "
        "accounts are made; `state`: the user is not active; `logout`: a logout token that does "
        "not hold."
    )
    user_id: UUID | None = Field(default=None, description="Null: nobody's.")
    address: Address = None


class ServiceAccountMade(Event):
    """A project has another service account."""

    type: Literal["service_account.made.v1"] = "service_account.made.v1"
    name: str
    role: Role
    scopes: tuple[str, ...] | None = Field(default=None, description="Null: all of its role's.")


class ServiceAccountChanged(Event):
    """Something of a service account was changed."""

    type: Literal["service_account.changed.v1"] = "service_account.changed.v1"
    name: str
    old: dict[str, JsonValue]
    new: dict[str, JsonValue]


class ServiceAccountRemoved(Event):
    """A service account is gone, and its keys are revoked."""

    type: Literal["service_account.removed.v1"] = "service_account.removed.v1"
    name: str


class ServiceAccountLocked(Event):
    """Too many wrong secrets: the account's secret is refused for a while, right or wrong."""

    type: Literal["service_account.locked.v1"] = "service_account.locked.v1"
    name: str
    failures: int
    until: datetime


class ClientSecretMade(Event):
    """A service account got a secret, or another one."""

    type: Literal["client_secret.made.v1"] = "client_secret.made.v1"
    name: str
    prefix: str
    former_until: datetime | None = Field(
        default=None, description="When the one before ceases to work; null: there is none."
    )


class ClientSecretRemoved(Event):
    """A service account's secrets do not work any more."""

    type: Literal["client_secret.removed.v1"] = "client_secret.removed.v1"
    name: str


class ClientAdmitted(Event):
    """A service account was given an access token."""

    type: Literal["client.admitted.v1"] = "client.admitted.v1"
    name: str
    address: Address = None


class ClientRefused(Event):
    """A service account was not given one: there is none, it is off or locked, or the secret is wrong."""

    type: Literal["client.refused.v1"] = "client.refused.v1"
    alias: Alias = Field(description="A keyed hash of the client id that was given.")
    account_id: UUID | None = Field(default=None, description="Null: no secret was compared.")
    address: Address = None


class KeystoneAccepted(Event):
    """A token of the cloud's Keystone was taken for the first time by a gateway."""

    type: Literal["keystone.accepted.v1"] = "keystone.accepted.v1"
    user_id: str = Field(description="In Keystone.")
    keystone_project_id: str
    role: Role
    address: Address = None


FederationEvent = Annotated[
    IdentityLinked
    | IdentityUsed
    | IdentityRefused
    | ServiceAccountMade
    | ServiceAccountChanged
    | ServiceAccountRemoved
    | ServiceAccountLocked
    | ClientSecretMade
    | ClientSecretRemoved
    | ClientAdmitted
    | ClientRefused
    | KeystoneAccepted,
    Field(discriminator="type"),
]
