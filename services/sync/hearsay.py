"""What sync reads of `vm.events`: how operations go. Its own and others' `vm.*` are no news to it."""

from dataclasses import dataclass
from uuid import UUID

from chassis.wire import Record, decode
from contracts.message import Body, Message

_NOBODY = UUID(int=0)


@dataclass(frozen=True)
class Hearsay:
    """One record; `message` is None where it is nothing to sync, and was not read."""

    type: str
    message: Message[Body] | None = None

    @property
    def id(self) -> UUID:
        """The message's, or a nil id."""
        return self.message.id if self.message else _NOBODY

    @property
    def traceparent(self) -> str:
        """The message's trace; none of one that was not read."""
        return self.message.traceparent if self.message else ""


def read(record: Record) -> Hearsay:
    """What a record says of operations; Poison if it says nothing that can be understood."""
    said = record.headers.get("ce_type", "")
    if said.startswith("vm.") and not record.malformed:
        return Hearsay(said)
    message = decode(record)
    return Hearsay(message.type, message)
