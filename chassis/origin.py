"""The request within which something is said: where it came from, with what, for what.

Whoever lets requests in binds an `Origin` around each. `say` then puts it on every message that
tells of none yet, so that no handler has to pass it on, and none can forget to.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Protocol

from contracts.message import Body, Message


@dataclass(frozen=True)
class Provenance:
    """The attributes of a message that say by which request it came about."""

    address: str = ""
    client: str = ""
    credential: str = ""
    permission: str = ""


NOWHERE = Provenance()


class Origin(Protocol):
    """One request, as far as it is known by now."""

    said: list[str]
    """The types of what was said within it, whether that was committed or not."""

    @property
    def provenance(self) -> Provenance:
        """What its messages are to tell of it."""
        ...


_ORIGIN: ContextVar[Origin | None] = ContextVar("origin", default=None)


@contextmanager
def within(origin: Origin) -> Generator[None]:
    """Everything that is said inside comes of this request."""
    token = _ORIGIN.set(origin)
    try:
        yield
    finally:
        _ORIGIN.reset(token)


def here() -> Provenance:
    """Of the request that is under way; NOWHERE without one."""
    origin = _ORIGIN.get()
    return origin.provenance if origin is not None else NOWHERE


def note_said(*types: str) -> None:
    """The request that is under way has said these: here, or elsewhere on its behalf."""
    if (origin := _ORIGIN.get()) is not None:
        origin.said.extend(types)


def attributed(message: Message[Body], to: Provenance | None = None) -> Message[Body]:
    """The message with a provenance: `to`, or that of the request under way; its own one stays."""
    found = here() if to is None else to
    if found == NOWHERE or message.address or message.credential or message.permission:
        return message
    if message.signature:  # it covers this, too
        return message
    return message.model_copy(update=asdict(found))
