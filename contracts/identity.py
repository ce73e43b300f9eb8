"""Who may ask: roles, each of which may do what the one before it may, and scopes, which narrow them."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field


class Role(StrEnum):
    """A caller's standing in one project."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether a caller of this role may do what asks for `needed`."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


Scope = Annotated[
    str,
    Field(
        pattern=r"^(\*|[a-z_]{1,50}\.(\*|[a-z_]{1,50}))$",
        description="A permission (`vm.read`), all of a kind (`vm.*`) or all there are (`*`).",
        examples=["vm.*"],
    ),
]


def allows(scopes: Iterable[str], permission: str) -> bool:
    """Whether one of `scopes` stands for `permission`, which may itself be a scope: `vm.*`."""
    return any(
        each in {"*", permission} or (each.endswith(".*") and permission.startswith(each[:-1]))
        for each in scopes
    )
