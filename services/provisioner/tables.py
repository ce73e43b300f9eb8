"""The provisioner's tables: operations, what is known of each VM's server, what was made, orphans."""

from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar
from uuid import UUID

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Dialect, orm
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Instant, Json
from chassis.dead_letters import reason_of
from chassis.migrations import big_id
from contracts.errors import ErrorCode
from contracts.operation.states import OperationError
from contracts.upcast import upcast
from contracts.vm.commands import Create, VmCommand
from contracts.vm.states import VmState

_COMMAND: TypeAdapter[VmCommand] = TypeAdapter(VmCommand)


def _partial(condition: str, name: str, *columns: str) -> sa.Index:
    where = sa.text(condition)
    return sa.Index(name, *columns, postgresql_where=where, sqlite_where=where)


class Kept(sa.TypeDecorator[dict[str, Any]]):
    """A JSON column whose text may be broken: SQLite keeps whatever it is given. It is `BROKEN` then."""

    impl = Json
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Never raises for what is kept."""
        read = super().result_processor(dialect, coltype)

        def lenient(value: Any) -> object:
            try:
                found: object = read(value) if read else value
            except ValueError:
                found = BROKEN
            return found if found is None or isinstance(found, dict) else dict(BROKEN)  # pyright: ignore[reportUnknownVariableType]

        return lenient


BROKEN = {"": "unreadable"}
"""In the place of data that is none: no command has such a field, so that it is none either."""


class Base(orm.DeclarativeBase):
    """The provisioner's own tables; the chassis' stand in chassis/tables.py."""

    metadata = sa.MetaData()
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: sa.Text,
        UUID: sa.Uuid,
        datetime: Instant,
        dict[str, Any]: Kept,
    }


class Operation(Base):
    """One command on its way to its outcome.

    `due_at` is when a worker may take it next: a queued one when it is due (None while it stands
    behind another), one that a worker holds when its lease runs out, a waiting one when doubt about
    it is to be cleared up or its build hangs, and an ended create when it is checked for stragglers.
    """

    __tablename__ = "operations"
    __table_args__ = (
        _partial("ended_at IS NULL", "operations_open_of_vm", "vm_id", "seq"),
        _partial("ended_at IS NULL", "operations_open_by_deadline", "deadline_at"),
        _partial("due_at IS NOT NULL", "operations_due", "account", "due_at", "seq"),
        _partial("blocked_on IS NOT NULL", "operations_blocked", "account", "seq"),
        sa.Index("operations_ended", "ended_at"),
    )

    seq: Mapped[int] = mapped_column(big_id(), primary_key=True, autoincrement=True)
    """Order of arrival."""
    id: Mapped[UUID] = mapped_column(unique=True)
    vm_id: Mapped[UUID]
    project_id: Mapped[str]
    account: Mapped[str]
    actor: Mapped[str]
    request_id: Mapped[str]
    traceparent: Mapped[str]
    command: Mapped[str]
    """Wire name."""
    data: Mapped[dict[str, Any]]
    state: Mapped[str]
    attempts: Mapped[int]
    bugs: Mapped[int]
    """Attempts that ended in an exception that nobody expected."""
    due_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime]
    lease_token: Mapped[UUID | None]
    asked_at: Mapped[datetime | None]
    """Since when the cloud may have taken a request for it; None: it certainly has not."""
    called_at: Mapped[datetime | None]
    """The cloud's clock when it took the request."""
    server_id: Mapped[str | None]
    cloud_request_id: Mapped[str | None]
    error: Mapped[dict[str, Any] | None]
    """The last attempt's, or the one that it failed of."""
    blocked_on: Mapped[str | None]
    doubts: Mapped[int]
    """How often the cloud was asked for its record of the action, or after its end for stragglers."""
    cancel_requested: Mapped[bool]
    compensating: Mapped[bool]
    """A create that is being undone."""
    anew: Mapped[bool]
    """It is undone so that it can be made anew; of a waiting create: if its build hangs, do so.
    Of another command: the cloud is asked again although it took it once."""
    rebuilds: Mapped[int]
    """How often it was made anew by its own policy."""
    leaving: Mapped[bool]
    """A delete whose server is gone: what belonged to the server goes now."""
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    @cached_property
    def asks(self) -> VmCommand:
        """The command, in its newest version; read once: what a row asks never changes."""
        wire_name, data = upcast(self.command, self.data)
        return _COMMAND.validate_python({"type": wire_name, **data})

    @cached_property
    def unreadable(self) -> str:
        """Why `asks` raises: another version wrote the row, or it is broken; empty if it does not."""
        try:
            _ = self.asks
        except Exception as error:  # noqa: BLE001 - a step of upcast may stumble over anything
            return reason_of(error)
        return ""

    @property
    def creates(self) -> Create | None:
        """The command if it is a create; None if it cannot be read."""
        command = None if self.unreadable else self.asks
        return command if isinstance(command, Create) else None

    @property
    def ids(self) -> dict[str, object]:
        """What log lines about it carry."""
        return {"request_id": self.request_id, "vm_id": self.vm_id, "operation_id": self.id}

    @property
    def reason(self) -> OperationError | None:
        """`error` in words; of one that another version wrote what can be read of it."""
        if self.error is None:
            return None
        try:
            return OperationError.model_validate(self.error)
        except ValidationError:
            return OperationError(code=ErrorCode.INTERNAL, detail=str(self.error))


class Server(Base):
    """What sync last said of a VM, as far as operations need it."""

    __tablename__ = "servers"
    __table_args__ = (sa.Index("servers_by_id", "account", "server_id"),)

    vm_id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    account: Mapped[str]
    server_id: Mapped[str | None]
    state: Mapped[str]
    version: Mapped[int]
    observed_at: Mapped[datetime | None]
    task: Mapped[str | None]
    since: Mapped[datetime | None]
    """The cloud's clock when this state with this task was first seen."""

    @property
    def is_deleted(self) -> bool:
        """Whether the cloud has said that it is gone for good."""
        return self.state == VmState.DELETED


class Made(Base):
    """One thing that Hostler made, or is about to make, in a cloud for a VM."""

    __tablename__ = "ledger"
    __table_args__ = (
        sa.Index("ledger_of_vm", "vm_id"),
        sa.Index("ledger_gone", "gone_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    """What it is known by before the cloud has named it: see ledger.py."""
    vm_id: Mapped[UUID]
    project_id: Mapped[str]
    account: Mapped[str]
    kind: Mapped[str]
    resource_id: Mapped[str | None]
    """The cloud's own id; None: a request was, or is just being, sent."""
    operation_id: Mapped[UUID]
    intended_at: Mapped[datetime]
    made_at: Mapped[datetime | None]
    gone_at: Mapped[datetime | None]


class Orphan(Base):
    """What sync found in an account without an owner, until sync says that it is gone."""

    __tablename__ = "orphans"
    __table_args__ = (sa.Index("orphans_due", "due_at"),)

    subject: Mapped[str] = mapped_column(primary_key=True)
    """`account/kind/id`."""
    account: Mapped[str]
    kind: Mapped[str]
    resource_id: Mapped[str]
    name: Mapped[str]
    vm_id: Mapped[UUID | None]
    reason: Mapped[str]
    proven: Mapped[bool]
    found_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    """When it may be removed, when the cloud is asked about it again, or when the lease of who does
    so runs out; None: never."""
    lease_token: Mapped[UUID | None]
    attempts: Mapped[int]
    removing_since: Mapped[datetime | None]
    """Since when the cloud may have been asked for its end."""
