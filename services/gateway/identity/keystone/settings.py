"""What the gateway is told about the Keystone whose tokens it takes."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo

from chassis.settings import Settings
from contracts.identity import Role
from services.gateway.identity.oidc.settings import is_safe

DEFAULT_ROLES = {"reader": Role.VIEWER, "member": Role.OPERATOR, "admin": Role.ADMIN}


def _require_url(url: str, info: ValidationInfo) -> str:
    if not is_safe(url):
        raise ValueError("write https://HOST/…, as the cloud's catalogue does; http:// only here")
    pairs = (
        ("keystone_username", "keystone_password"),
        ("keystone_application_credential_id", "keystone_application_credential_secret"),
    )
    if not any(info.data.get(name) and info.data.get(secret) for name, secret in pairs):
        raise ValueError(
            "needs HOSTLER_KEYSTONE_USERNAME and _PASSWORD, or an application credential, beside it"
        )
    return url.rstrip("/").removesuffix("/v3")


class KeystoneSettings(Settings):
    """`HOSTLER_KEYSTONE_*` variables."""

    keystone_username: str | None = Field(
        default=None,
        description="The gateway's own user, which may validate tokens (the role `service` or `admin`).",
    )
    keystone_password: SecretStr | None = None
    keystone_user_domain: str = "Default"
    keystone_project: str = Field(default="service", description="That user's project.")
    keystone_project_domain: str = "Default"
    keystone_application_credential_id: str | None = Field(
        default=None, description="With its secret, instead of user and password."
    )
    keystone_application_credential_secret: SecretStr | None = None
    keystone_projects: dict[str, str] = Field(
        default={},
        description="Keystone project → Hostler's, as a JSON object: by id, or as `DOMAIN/NAME` (of "
        "the domain the name). Tokens of others are refused.",
    )
    keystone_roles: dict[str, Role] = Field(
        default=DEFAULT_ROLES, description="Keystone role → Hostler's, of which the greatest holds."
    )
    keystone_cache: timedelta = Field(
        default=timedelta(seconds=60),
        ge=timedelta(0),
        le=timedelta(hours=1),
        description="How long a token is believed before Keystone is asked again: a revoked one works "
        "that much longer at most.",
    )
    keystone_timeout: timedelta = Field(
        default=timedelta(seconds=5), gt=timedelta(0), le=timedelta(seconds=30)
    )
    keystone_url: Annotated[str, AfterValidator(_require_url)] | None = Field(
        default=None,
        description="Where Keystone answers; with it `X-Auth-Token` is taken. See docs/federation.md.",
    )
