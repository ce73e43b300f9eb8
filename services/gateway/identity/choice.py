"""In which project a user acts: the one that they name, or the only one that they are in."""

from dataclasses import replace

from chassis.identity import Caller
from contracts.identity import Role
from services.gateway.identity.tokens import Bearer

PLATFORM = ("audit.read",)
"""What an admin of the platform may do who acts in no project: see what happened in none."""


def acting_in(bearer: Bearer, who: Caller, wanted: str | None) -> Caller | None:
    """The user in a project with their role; None where they are not in it, or named none of many.

    An admin of the platform who names none acts for the platform, whatever projects they are in.
    """
    if wanted is None and bearer.is_platform_admin:
        return replace(who, role=Role.ADMIN, scopes=PLATFORM)
    if wanted is None and len(bearer.projects) == 1:
        wanted = next(iter(bearer.projects))
    role = bearer.projects.get(wanted) if wanted is not None else None
    if wanted is None or role is None:
        return None
    return replace(who, project_id=wanted, role=role, scopes=None)
