"""Sync's tables: what is known of VMs and of what is none, who waits, how far each account is."""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Index, Integer, Table, Text, Uuid, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.database import Instant, Json


class Base(DeclarativeBase):
    """The base of sync's rows."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it so
        str: Text,
        UUID: Uuid,
        bool: Boolean,
        datetime: Instant,
        dict[str, Any]: Json,
    }


_LIVES = text("state <> 'deleted' AND server_id IS NOT NULL")


class Vm(Base):
    """One VM as it was last seen. `version` 0: it is expected, nothing was said of it yet.

    A server is one VM's as long as that lives.
    """

    __tablename__ = "vms"
    __table_args__ = (
        Index("ix_vms_account", "account", "vm_id"),
        Index("ix_vms_server", "account", "server_id"),
        Index(
            "uq_vms_server",
            "account",
            "server_id",
            unique=True,
            postgresql_where=_LIVES,
            sqlite_where=_LIVES,
        ),
        Index("ix_vms_look", "account", "look_due_at"),
    )

    vm_id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    account: Mapped[str]
    server_id: Mapped[str | None]
    state: Mapped[str]
    snapshot: Mapped[dict[str, Any] | None]
    digest: Mapped[str | None]
    """Of `snapshot`, to tell without reading it whether an answer shows anything else."""
    idle: Mapped[bool | None]
    """Whether `snapshot` shows a server with which the cloud is doing nothing."""
    version: Mapped[int] = mapped_column(BigInteger)
    observed_at: Mapped[datetime | None]
    """The cloud's clock of the answer that `snapshot` is from."""
    look_due_at: Mapped[datetime | None]
    """When to look at this server alone, because a full sweep did not show it."""


class Watch(Base):
    """An operation under way, whose VM is reported on until it ends."""

    __tablename__ = "watches"
    __table_args__ = (
        Index("ix_watches_vm", "vm_id"),
        Index("ix_watches_account", "account", "state"),
    )

    operation_id: Mapped[UUID] = mapped_column(primary_key=True)
    vm_id: Mapped[UUID]
    account: Mapped[str]
    command: Mapped[str]
    state: Mapped[str]
    """started, issued or retrying."""
    called_at: Mapped[datetime | None]
    """The clock (the cloud's, where the cloud was asked) when it was issued."""
    observed_at: Mapped[datetime | None]
    """The cloud's clock of the latest `vm.observed.v1` said for it."""
    look_due_at: Mapped[datetime | None]
    ends_by: Mapped[datetime]
    """When to stop although no end was heard: past the command's deadline."""
    actor: Mapped[str]
    request_id: Mapped[str]
    traceparent: Mapped[str]


class Account(Base):
    """How far one account was swept, and when to do what next."""

    __tablename__ = "accounts"

    account: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime | None]
    """From where the next sweep asks: the cloud's clock of the last complete one, or of the oldest
    change that was left for it."""
    swept_at: Mapped[datetime | None]
    """Hostler's clock when the last complete sweep began."""
    next_full_at: Mapped[datetime | None]
    next_catalog_at: Mapped[datetime | None]
    next_inventory_at: Mapped[datetime | None]
    retry_at: Mapped[datetime | None]
    """Not before this: the cloud failed or asked for time."""
    failures: Mapped[int] = mapped_column(Integer)
    error: Mapped[str]


class FormerServer(Base):
    """A server that was a VM's, and is not any more although the VM may live on with another."""

    __tablename__ = "former_servers"

    account: Mapped[str] = mapped_column(primary_key=True)
    server_id: Mapped[str] = mapped_column(primary_key=True)
    vm_id: Mapped[UUID]


class Stranger(Base):
    """A server that is no VM of Hostler's, as it was last said."""

    __tablename__ = "strangers"

    account: Mapped[str] = mapped_column(primary_key=True)
    server_id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]


class Orphan(Base):
    """Something in an account that no VM has any more."""

    __tablename__ = "orphans"

    account: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    vm_id: Mapped[UUID | None]
    project_id: Mapped[str]
    reason: Mapped[str]
    proven: Mapped[bool]
    found_at: Mapped[datetime]
    """Hostler's clock when it was first seen so."""
    told: Mapped[bool]
    """Whether it was seen so twice in a row, and said."""


class CatalogItem(Base):
    """One thing that an account offers, as it was last said."""

    __tablename__ = "catalog"

    account: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    data: Mapped[dict[str, Any]]


VMS = cast("Table", Vm.__table__)
WATCHES = cast("Table", Watch.__table__)
ACCOUNTS = cast("Table", Account.__table__)
FORMER = cast("Table", FormerServer.__table__)
STRANGERS = cast("Table", Stranger.__table__)
CATALOG = cast("Table", CatalogItem.__table__)
