"""Overrides: an admin of the platform acts in a project that they are not in, and says why."""

from collections.abc import Container
from dataclasses import replace

from chassis.identity import Caller
from chassis.problems import invalid
from contracts.identity import Role

OVERRIDE = "X-Override-Reason"
MOST = 500


def overriding(
    admin: Caller, project_id: str, reason: str | None, projects: Container[str]
) -> Caller | None:
    """The admin of the platform as one of the project; None without a reason, or such a project."""
    if reason is None or project_id not in projects:
        return None
    said = _text(reason).strip()
    if not 1 <= len(said) <= MOST or not said.isprintable():
        raise invalid(f"header.{OVERRIDE}", f"Give a reason of 1 to {MOST} printable characters.")
    return replace(admin, project_id=project_id, role=Role.ADMIN, scopes=None, override=said)


def _text(raw: str) -> str:
    """The header's text: UTF-8, where it is that; HTTP itself knows Latin-1 alone."""
    try:
        return raw.encode("latin-1").decode()
    except ValueError:
        return raw
