"""Identifiers that sort by the time of their making (UUID version 7, RFC 9562)."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """A new identifier; later ones sort behind earlier ones."""
    return uuid7()
