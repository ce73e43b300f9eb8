"""Who may ask: roles, each of which may do what the one before it may, and scopes, which narrow them."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

ROLE_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
_ROLE = re.compile(ROLE_PATTERN)


class Role(str):
    """A caller's standing in one project: viewer, operator, admin, or a role of the policy file.

    What a role of the policy file may do stands in that file alone; without it, nothing. ValueError
    for what cannot be a role's name.
    """

    __slots__ = ()
    VIEWER: ClassVar["Role"]
    OPERATOR: ClassVar["Role"]
    ADMIN: ClassVar["Role"]
    BUILT_IN: ClassVar[tuple["Role", ...]]
    """Each may do what those before it may."""

    def __new__(cls, name: str) -> Self:
        """The role of that name."""
        if not _ROLE.fullmatch(name):
            raise ValueError(f"no role is named like {name[:80]!r}")
        return super().__new__(cls, name)

    @property
    def value(self) -> str:
        """Its name."""
        return str(self)

    def covers(self, needed: "Role") -> bool:
        """Whether a caller of this role may do what asks for `needed`, if no policy says otherwise."""
        order = self.BUILT_IN
        if self in order and needed in order:
            return order.index(self) >= order.index(needed)
        return self == needed

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """A string, as which it is written, too."""
        text = core_schema.str_schema(pattern=ROLE_PATTERN)
        metadata = {"pydantic_js_updates": {"examples": ["operator"]}}
        return core_schema.no_info_after_validator_function(cls, text, metadata=metadata)


Role.VIEWER, Role.OPERATOR, Role.ADMIN = Role("viewer"), Role("operator"), Role("admin")
Role.BUILT_IN = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)

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
