"""Who may ask: the three roles of a project, each of which may do what the one before it may."""

from enum import StrEnum


class Role(StrEnum):
    """A caller's standing in one project."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether a caller of this role may do what asks for `needed`."""
        order = list(Role)
        return order.index(self) >= order.index(needed)
