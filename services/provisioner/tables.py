"""The provisioner's tables: operations, and what is known of each VM's server."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy import orm
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Instant, Json
from chassis.migrations import big_id
from contracts.operation.states import OperationError
from contracts.upcast import upcast
from contracts.vm.commands import Create, VmCommand
from contracts.vm.states import VmState

_COMMAND: TypeAdapter[VmCommand] = TypeAdapter(VmCommand)


def _of_open(name: str, *columns: str) -> sa.Index:
    is_open = sa.text("ended_at IS NULL")
    return sa.Index(name, *columns, postgresql_where=is_open, sqlite_where=is_open)


class Base(orm.DeclarativeBase):
    """The provisioner's own tables; the chassis' stand in chassis/tables.py."""

    metadata = sa.MetaData()
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: sa.Text,
        UUID: sa.Uuid,
        datetime: Instant,
        dict[str, Any]: Json,
    }


class Operation(Base):
    """One command on its way to its outcome.

    `due_at` is when a worker may take it next: a queued one when it is due (None while it stands
    behind another), one that a worker holds when its lease runs out, a waiting one when doubt about
    it is to be cleared up, and an ended create when it is checked for stragglers.
    """

    __tablename__ = "operations"
    __table_args__ = (
        _of_open("operations_open_of_vm", "vm_id", "seq"),
        _of_open("operations_open_by_deadline", "deadline_at"),
        sa.Index("operations_due", "due_at", "seq"),
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
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    @property
    def asks(self) -> VmCommand:
        """The command, in its newest version."""
        wire_name, data = upcast(self.command, self.data)
        return _COMMAND.validate_python({"type": wire_name, **data})

    @property
    def creates(self) -> Create | None:
        """The command if it is a create."""
        command = self.asks
        return command if isinstance(command, Create) else None

    @property
    def ids(self) -> dict[str, object]:
        """What log lines about it carry."""
        return {"request_id": self.request_id, "vm_id": self.vm_id, "operation_id": self.id}

    @property
    def reason(self) -> OperationError | None:
        """`error` in words."""
        return OperationError.model_validate(self.error) if self.error is not None else None


class Server(Base):
    """What sync last said of a VM, as far as operations need it."""

    __tablename__ = "servers"

    vm_id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    account: Mapped[str]
    server_id: Mapped[str | None]
    state: Mapped[str]
    version: Mapped[int]
    observed_at: Mapped[datetime | None]

    @property
    def is_deleted(self) -> bool:
        """Whether the cloud has said that it is gone for good."""
        return self.state == VmState.DELETED
