"""Rules about claims: which role in which project somebody has by what their provider says of them."""

from collections.abc import Iterable, Mapping
from typing import Annotated, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from contracts.identity import Role

Claims = Mapping[str, JsonValue]
ClaimPath = Annotated[str, Field(min_length=1, max_length=200, examples=["realm_access.roles"])]


class ClaimRule(BaseModel):
    """Who has `claim` with this value, or with it in its list, has the role in the project."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: ClaimPath
    equals: str
    project: str
    role: Role


def roles_by(rules: Iterable[ClaimRule], claims: Claims) -> dict[str, Role]:
    """Of each project the greatest role that a rule gives."""
    found: dict[str, Role] = {}
    for rule in rules:
        if not _holds(claims, rule.claim, rule.equals):
            continue
        known = found.get(rule.project)
        if known is None or rule.role.covers(known):
            found[rule.project] = rule.role
    return found


def _holds(claims: Claims, path: str, value: str) -> bool:
    """Whether a claim is the text, or a list with it; never a part of it, nor a number like it."""
    said = _at(claims, path)
    return said == value or (isinstance(said, list) and value in said)


def _at(claims: Claims, path: str) -> JsonValue:
    """A claim by its name, which may have dots in it (a URL), or by a path through objects."""
    if path in claims:
        return claims[path]
    first, _, rest = path.partition(".")
    inner = claims.get(first)
    return _at(cast("Claims", inner), rest) if rest and isinstance(inner, dict) else None
