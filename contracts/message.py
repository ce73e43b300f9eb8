"""What every message has in common: its envelope, and the two kinds of body, command and event."""

from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_snake

from contracts.identity import Role
from contracts.vm.states import VM_FIELDS, CloudWord, Transition, VmField, VmState


class Body(BaseModel):
    """What a message says. Each leaf declares `type`, its wire name `noun.verb.vN`."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def wire_name(cls) -> str:
        """The value of the leaf's `type`, e.g. `vm.reboot.v1`."""
        return str(cls.model_fields["type"].default)


EVERYTHING: frozenset[VmField] = frozenset(VM_FIELDS)
_UNSETTLED = frozenset({VmState.REQUESTED, VmState.BUILDING, VmState.UNKNOWN, VmState.ERROR})


class Change(BaseModel):
    """What a command does to a VM's state: from one of `start`, shown as `via`, to `end`.

    `end` is None where the command leaves the state as it is and is settled by other means.
    `moves`: the fields that may change by it. What else changes meanwhile is somebody else's doing.
    """

    model_config = ConfigDict(frozen=True)

    start: frozenset[VmState]
    via: Transition
    end: VmState | None
    moves: frozenset[VmField]

    @classmethod
    def of(
        cls,
        start: AbstractSet[VmState],
        via: Transition,
        end: VmState | None,
        *,
        moves: AbstractSet[VmField],
    ) -> "Change":
        """Build a change from plain sets."""
        return cls(start=frozenset(start), via=via, end=end, moves=frozenset(moves))

    def explains(self, field: str, value: object) -> bool:
        """Whether a field may have come to a value by it.

        A command that moves less than everything passes through the states that it begins in or
        leads to, or fails: that a VM is gone, or paused while it is stopped, is not its doing.
        """
        if field not in self.moves:
            return False
        if field != "state" or self.moves == EVERYTHING:
            return True
        return value in self.start | _UNSETTLED | {self.end}

    @property
    def returns(self) -> bool:
        """Whether it may end in the state in which it began, as a reboot does."""
        return self.end is None or self.end in self.start


class Event(Body):
    """Something that happened. Readers tolerate fields that they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Happened(Event):
    """A command was carried out on the VM that is the message's subject."""

    server_id: CloudWord | None = Field(
        default=None, description="The cloud's own id of the server."
    )


class Command(Body):
    """Something that is asked. Unknown fields are refused, types are not coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    change: ClassVar[Change]
    deadline: ClassVar[timedelta]
    role: ClassVar[Role]
    emits: ClassVar[type[Happened] | None] = None
    stuck_after: ClassVar[timedelta] = timedelta(minutes=2)
    """How long it may take before people should know; long past what a healthy cloud needs."""
    shows_in_sweep: ClassVar[bool] = True
    """Whether the cloud counts it as a change of the server (Nova: moves `updated`). Where it does
    not, sync looks at the one server instead."""

    def calls(self) -> tuple[str, ...]:
        """What OpenStack would be asked to carry it out, for a dry run: method, path and what."""
        return ()

    @classmethod
    def verb(cls) -> str:
        """The middle of the wire name: `vm.reboot.v1` is `reboot`."""
        return cls.wire_name().split(".")[1]

    @classmethod
    def permission(cls) -> str:
        """The right that it asks for, e.g. `vm.reboot`."""
        return cls.wire_name().rpartition(".")[0]

    @classmethod
    def title(cls) -> str:
        """One word for people, e.g. `reboot`."""
        return to_snake(cls.__name__).replace("_", " ")


class Action(Command):
    """A command on one VM that is asked with `POST /v1/vms/{id}/{verb}`."""


DataT_co = TypeVar("DataT_co", bound=Body, covariant=True)


class Message(BaseModel, Generic[DataT_co]):
    """One body with what is known about it; on Kafka a CloudEvents 1.0 record (see chassis/wire)."""

    model_config = ConfigDict(frozen=True)

    id: UUID = Field(description="Unique for ever; the same when it is delivered again.")
    source: str = Field(description="The service that said it, e.g. `hostler/sync`.")
    time: datetime = Field(description="When it was said (UTC).")
    subject: str = Field(description="What it is about; also the Kafka key. A VM's id on vm.*.")
    project_id: str = Field(default="", description="Who owns the subject; empty: no project.")
    account: str = Field(
        default="", description="The cloud account (a clouds.yaml entry) it lives in."
    )
    actor: str = Field(
        description="Who caused it: `key:NAME`, `user:ID`, `cloud` or `hostler/SERVICE`."
    )
    operation_id: UUID | None = Field(default=None, description="The operation that it belongs to.")
    request_id: str = Field(default="", description="The HTTP request that began it, `req-…`.")
    override: str = Field(
        default="",
        description="Why an admin of the platform acted in a project that they are not in.",
    )
    traceparent: str = Field(default="", description="W3C trace context.")
    signature: str = Field(
        default="", description="The gateway's, of a command: see chassis/seals."
    )
    address: str = Field(default="", description="Where that request came from.")
    client: str = Field(default="", description="What the caller's program calls itself.")
    credential: str = Field(
        default="",
        description="What vouched for the caller, by kind and id: `key:ID`, `session:ID`; `unverified:…` where nothing did. No secret.",
    )
    permission: str = Field(default="", description="What the request asked for: `vm.reboot`.")
    data: DataT_co

    @property
    def type(self) -> str:
        """The wire name of the body."""
        return type(self.data).wire_name()


def utc_now() -> datetime:
    """The wall clock in UTC: the default of every `clock` that is passed in."""
    return datetime.now(UTC)
