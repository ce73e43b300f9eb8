"""The catalogue and the token document, as Keystone writes them."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.clock import micros
from simulator.identity.tokens import DOMAIN, Token
from simulator.seed import named_id

REGION = "RegionOne"
# type, name, path below the simulator's root
CATALOG = (
    ("identity", "keystone", "/identity/v3"),
    ("image", "glance", "/image"),
    ("compute", "nova", "/compute/v2.1"),
    ("network", "neutron", "/network"),
    ("volumev3", "cinder", "/volume/v3"),
)


def catalog(root_url: str) -> list[Mapping[str, object]]:
    """Every service's endpoints, as seen from the address that the caller used."""
    return [
        {
            "id": named_id("service", name).replace("-", ""),
            "type": kind,
            "name": name,
            "endpoints": [
                {
                    "id": named_id("endpoint", f"{name}/{face}").replace("-", ""),
                    "interface": face,
                    "region_id": REGION,
                    "region": REGION,
                    "url": root_url + path,
                }
                for face in ("public", "internal", "admin")
            ],
        }
        for kind, name, path in CATALOG
    ]


def token_body(token: Token, root_url: str) -> Mapping[str, object]:
    """The body of POST and GET /v3/auth/tokens."""
    body: dict[str, object] = {
        "methods": [token.method],
        "user": {
            "domain": DOMAIN,
            "id": token.user_id,
            "name": token.user_name,
            "password_expires_at": None,
        },
        "audit_ids": [token.audit_id],
        "expires_at": micros(token.expires) + "Z",
        "issued_at": micros(token.issued) + "Z",
    }
    if token.project_id:
        body |= {
            "project": {"domain": DOMAIN, "id": token.project_id, "name": token.project_name},
            "is_domain": False,
            "roles": [{"id": named_id("role", r).replace("-", ""), "name": r} for r in token.roles],
            "catalog": catalog(root_url),
        }
    return {"token": body}
