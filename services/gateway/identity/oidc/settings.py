"""What the gateway is told about providers by which users log in."""

from datetime import timedelta
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    model_validator,
)

from chassis.settings import Settings
from services.gateway.identity.oidc.claims import ClaimRule

_HERE = {"localhost", "127.0.0.1", "::1"}


def is_safe(url: str) -> bool:
    """HTTPS, or HTTP on this machine; without credentials and fragment."""
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme, parts.hostname
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment:
        return False
    return scheme == "https" or (scheme == "http" and host in _HERE)


def _require_issuer(url: str) -> str:
    if not is_safe(url) or urlsplit(url).query:
        raise ValueError("write the issuer as the provider does, with https://")
    return url


ProviderName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]


class OidcProvider(BaseModel):
    """A provider, as it was registered there and as it is trusted here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: Annotated[str, AfterValidator(_require_issuer)]
    client_id: str = Field(min_length=1)
    client_secret: SecretStr | None = None
    client_secret_file: FilePath | None = None
    client_key_file: FilePath | None = None
    """A private JWK, for `private_key_jwt` in place of a secret."""
    scopes: list[str] = ["openid", "profile", "email"]
    userinfo: bool = True
    rules: list[ClaimRule] = []
    create_users: bool = True
    link_by_email: bool = False
    trust_email: bool = False
    second_factor: Literal["ask", "trust"] = "ask"
    """Whether who has a second factor here is asked for it, or the provider is trusted to have been."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        ways = (self.client_secret, self.client_secret_file, self.client_key_file)
        if sum(each is not None for each in ways) != 1:
            raise ValueError("give one of client_secret, client_secret_file and client_key_file")
        if "openid" not in self.scopes:
            raise ValueError("scopes have to hold openid")
        return self

    def secret(self) -> str:
        """What the gateway proves itself with; the file is read each time, so it may be changed.

        Only where there is no key.
        """
        if self.client_secret is not None:
            return self.client_secret.get_secret_value()
        assert self.client_secret_file is not None  # noqa: S101 - the validator's word
        return self.client_secret_file.read_text().strip()


class OidcSettings(Settings):
    """`HOSTLER_*` variables about providers."""

    oidc_providers: dict[ProviderName, OidcProvider] = Field(
        default={},
        max_length=20,
        description='Name → provider: `{"corp":{"issuer":"https://id.example.org","client_id":"hostler",'
        '"client_secret_file":"/run/secrets/corp","rules":[{"claim":"groups","equals":"ops","project":'
        '"demo","role":"operator"}]}}`. See docs/federation.md.',
    )
    oidc_timeout: timedelta = Field(
        default=timedelta(seconds=5),
        gt=timedelta(0),
        le=timedelta(seconds=30),
        description="How long a provider may take for one answer.",
    )
    oidc_logged_out_url: str | None = Field(
        default=None,
        description="Where a provider sends a browser after a logout; has to be registered there.",
    )
    federated_passwords: bool = Field(
        default=False,
        description="Whether users who came by a provider, and have no password, can have a link "
        "to one mailed.",
    )
