"""Imports: servers that Hostler did not make become VMs, all that one request names or none of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import ColumnElement, Row, and_, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.problems import Refusal
from chassis.rows import update_rows
from contracts.errors import ErrorCode
from contracts.vm.commands import Import
from contracts.vm.fields import Metadata, ServerId
from contracts.vm.states import VmState
from services.gateway.drafts import Draft, operation_of, requested
from services.gateway.idempotency import Key, Use, claim
from services.gateway.intake import Asked, Intake
from services.gateway.likeness import Likeness, unlike
from services.gateway.reading.inventory import ServerFilter
from services.gateway.tables import IMPORTS, UNMANAGED, VMS

MOST = 500
INTENT = "POST /v1/vms/import"
_KEPT = (
    "name",
    "description",
    "flavor",
    "image",
    "metadata",
    "tags",
    "key_name",
    "availability_zone",
    "security_groups",
)


class ImportFilter(BaseModel):
    """Which servers: those that all of this holds for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="With `*` and `?`; upper and lower case are the same.",
        examples=["db-*"],
    )
    state: list[VmState] | None = Field(default=None, min_length=1, description="One of these.")
    metadata: Metadata | None = Field(default=None, description="All of it.")

    @model_validator(mode="after")
    def _says_something(self) -> "ImportFilter":
        if self.name is None and self.state is None and not self.metadata:
            raise ValueError('give at least one of name, state, metadata; {"name": "*"} is all')
        return self


class ImportServers(BaseModel):
    """Which servers to take in: by id, or by a filter, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    server_ids: list[ServerId] | None = Field(default=None, min_length=1, max_length=MOST)
    filter: ImportFilter | None = None
    limit: int = Field(
        default=100, ge=1, le=MOST, description="How many the filter may find, at most."
    )

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "ImportServers":
        if (self.server_ids is None) is (self.filter is None):
            raise ValueError("give either server_ids or filter")
        if self.server_ids and len(set(self.server_ids)) != len(self.server_ids):
            raise ValueError("server_ids holds the same id twice")
        return self


@dataclass(frozen=True)
class Wanted:
    """One request to import."""

    caller: Caller
    account: str
    servers: ImportServers
    request_id: str
    key: str | None = None

    @property
    def said(self) -> str:
        """What another request must equal to be the same one."""
        return f"{INTENT}\n{self.servers.model_dump_json()}"


@dataclass(frozen=True)
class TakenIn:
    """The operations, one per server; `replayed` if the same request made them earlier."""

    operations: list[UUID]
    replayed: bool = False


async def take_in(session: AsyncSession, intake: Intake, wanted: Wanted) -> TakenIn:
    """Begin an import of each server that is asked for, in the caller's transaction.

    Refusal or Terminal: NOT_FOUND and CONFLICT name the servers, KEY_REUSED; CONFLICT also where
    the project has no account.
    """
    if not wanted.account:
        raise Terminal(ErrorCode.CONFLICT, "The project is mapped to no cloud account.")
    now, import_id = intake.clock(), new_id()
    if wanted.key and (first := await _earlier(session, intake, wanted, import_id)):
        return first
    rows = await _chosen(session, wanted)
    drafts = [_draft(row, wanted, now) for row in rows]
    asked = [
        Asked(wanted.caller, draft.command, None, wanted.request_id, INTENT) for draft in drafts
    ]
    await intake.write(session, asked, drafts)
    await _remember(session, drafts)
    operations = [UUID(str(draft.operation["id"])) for draft in drafts]
    if wanted.key:
        await _keep(session, intake, wanted, import_id, operations)
    return TakenIn(operations)


async def would_take(session: AsyncSession, wanted: Wanted) -> int:
    """How many servers a request would take in now; refused as `take_in` would."""
    return len(await _chosen(session, wanted))


async def _earlier(
    session: AsyncSession, intake: Intake, wanted: Wanted, import_id: UUID
) -> TakenIn | None:
    """What the same key led to; None, and the key is taken, if nothing."""
    key = Key(wanted.caller.project_id, wanted.key or "")
    use = Use(intake.digests.of(key, wanted.said), import_id)
    first = (await claim(session, {key: use}, intake.clock(), intake.keys_kept)).get(key)
    if first is None:
        return None
    likeness = intake.digests.compare(first.digest, key, wanted.said)
    if likeness is not Likeness.SAME:
        raise unlike(likeness)
    ids = select(IMPORTS.c.operations).where(IMPORTS.c.id == first.operation_id)
    found: list[str] = await session.scalar(ids) or []
    return TakenIn([UUID(each) for each in found], replayed=True)


async def _keep(
    session: AsyncSession, intake: Intake, wanted: Wanted, import_id: UUID, operations: list[UUID]
) -> None:
    """Remember for the key what it led to, and forget what keys led to that are forgotten."""
    now = intake.clock()
    await session.execute(delete(IMPORTS).where(IMPORTS.c.created_at < now - intake.keys_kept))
    row = {
        "id": import_id,
        "project_id": wanted.caller.project_id,
        "operations": [str(each) for each in operations],
        "created_at": now,
    }
    await session.execute(IMPORTS.insert(), row)


async def _chosen(session: AsyncSession, wanted: Wanted) -> list[Row[Any]]:
    """The servers' rows, locked; two requests at once never take the same one."""
    servers = wanted.servers
    if servers.server_ids is not None:
        return await _named(session, wanted.account, servers.server_ids)
    asked = servers.filter or ImportFilter(name="*")
    sought = ServerFilter(
        wanted.account, asked.name, frozenset(asked.state or ()), dict(asked.metadata or {})
    )
    query = sought.query().where(~_taken()).order_by(UNMANAGED.c.name, UNMANAGED.c.id)
    rows = (await session.execute(query)).all()
    ids = [row.id for row in rows if sought.covers(row)][: servers.limit]
    return await _free(session, wanted.account, ids)


async def _free(session: AsyncSession, account: str, server_ids: Sequence[str]) -> list[Row[Any]]:
    """Those of the servers that are nobody's, locked, by id."""
    query = (
        select(UNMANAGED)
        .where(
            UNMANAGED.c.account == account,
            among(UNMANAGED.c.id, server_ids),
            UNMANAGED.c.gone_at.is_(None),
        )
        .order_by(UNMANAGED.c.id)
        .with_for_update()
    )
    locked = [row.id for row in (await session.execute(query)).all()]
    free = select(UNMANAGED).where(
        UNMANAGED.c.account == account, among(UNMANAGED.c.id, locked), ~_taken()
    )
    return list((await session.execute(free.order_by(UNMANAGED.c.id))).all())


async def _named(session: AsyncSession, account: str, server_ids: Sequence[str]) -> list[Row[Any]]:
    rows = await _free(session, account, server_ids)
    others = sorted(set(server_ids) - {row.id for row in rows})
    if not others:
        return rows
    vms = among(VMS.c.server_id, others) & (VMS.c.state != VmState.DELETED.value)
    theirs = await session.scalars(select(VMS.c.server_id).where(VMS.c.account == account, vms))
    begun = among(UNMANAGED.c.id, others) & (UNMANAGED.c.account == account)
    asked = await session.scalars(select(UNMANAGED.c.id).where(begun, _taken()))
    taken = sorted({*theirs, *asked})
    if unknown := sorted(set(others) - set(taken)):
        sentence = f"The account has no such unmanaged server: {', '.join(unknown)}."
        raise Refusal(ErrorCode.NOT_FOUND, sentence, servers=unknown)
    sentence = f"Already a VM, or about to become one: {', '.join(taken)}."
    raise Refusal(ErrorCode.CONFLICT, sentence, servers=taken)


def _taken() -> ColumnElement[bool]:
    """Whether a server was asked for already, and that import goes on or has made it a VM."""
    alive = or_(
        VMS.c.operation_id.is_not(None),
        VMS.c.state.not_in([VmState.REQUESTED.value, VmState.DELETED.value]),
    )
    return select(VMS.c.id).where(and_(VMS.c.id == UNMANAGED.c.vm_id, alive)).exists()


def _draft(row: Row[Any], wanted: Wanted, now: datetime) -> Draft:
    """A VM that begins as the server was last seen, and the command that makes it one."""
    command, vm_id = Import(server_id=row.id), new_id()
    project_id = wanted.caller.project_id
    operation = operation_of(new_id(), command, wanted.caller, wanted.request_id, now)
    made = requested(vm_id, project_id, wanted.account, now)
    made |= {name: row.vm[name] for name in _KEPT}
    made |= {
        "folded_name": row.folded_name,
        "owner": wanted.caller.owner,
        "operation_id": operation["id"],
        "operation_command": command.wire_name(),
    }
    theirs = {"vm_id": vm_id, "project_id": project_id, "account": wanted.account, "seq": 1}
    return Draft(vm_id, project_id, wanted.account, command, operation | theirs, made=made)


async def _remember(session: AsyncSession, drafts: Sequence[Draft]) -> None:
    """Note as which VM each server was asked to be taken in."""
    rows = [
        {"account": each.account, "id": each.command.server_id, "vm_id": each.id}
        for each in drafts
        if isinstance(each.command, Import)
    ]
    await update_rows(session, UNMANAGED, ("account", "id"), rows)
