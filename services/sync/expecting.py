"""The VMs that messages about operations are about: known, or made known before they are seen."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.database import insert
from chassis.leases import Clock
from contracts.message import Body, Message
from contracts.operation import events as operation
from contracts.vm.states import VmState
from services.sync import watches
from services.sync.recording import keep_track
from services.sync.tables import VMS, Account, Vm

LOG = logging.getLogger(__name__)
_Says = operation.Started | operation.Issued | operation.Succeeded | operation.Failed
Server = tuple[str, str]
"""Account and server's id."""


@dataclass
class Expected:
    """The rows of a batch's VMs, locked, and what it takes to judge what is said of them."""

    rows: dict[UUID, Vm]
    owners: dict[Server, UUID]
    """Which living VM has a server that the messages name."""
    clocks: dict[str, datetime]
    """By account, how far the cloud's clock was when it was swept last."""
    had: dict[UUID, str | None] = field(init=False)
    dropped: set[UUID] = field(default_factory=set[UUID])

    def __post_init__(self) -> None:
        """Remember which servers the VMs had before."""
        self.had = {vm_id: row.server_id for vm_id, row in self.rows.items()}

    def vm(self, message: Message[Body]) -> Vm | None:
        """The VM that a message is about; None if nothing was ever said of it that counts."""
        return self.rows.get(UUID(message.subject))

    def has(self, row: Vm, server_id: str | None, *, made_at: datetime | None = None) -> bool:
        """Let a VM without a server have this one; one made at `made_at` in the place of another.

        Whether it took another's place. A server that a living VM has stays that one's. A deleted
        VM stays so, unless this server was made after that: then its create goes on with this one,
        and the word of that create came late.
        """
        anew = made_at is not None
        if server_id in {None, row.server_id}:
            return False
        if row.state == VmState.DELETED and not _is_later(made_at, row.observed_at):
            return False
        owner = self.owners.setdefault((row.account, server_id or ""), row.vm_id)
        if owner != row.vm_id:
            LOG.warning("%s is said to have the server %s of %s", row.vm_id, server_id, owner)
            return False
        replaces = row.server_id is not None
        if anew or not replaces:
            row.server_id = server_id
        return anew and replaces

    def drop(self, row: Vm) -> None:
        """Forget a VM that never came to be."""
        self.dropped.add(row.vm_id)

    async def write(self, session: AsyncSession, clock: Clock) -> None:
        """What follows from it for servers; the rows' own changes are written with the session."""
        await keep_track(session, list(self.rows.values()), self.had, clock)
        if self.dropped:
            await session.execute(delete(Vm).where(among(Vm.vm_id, self.dropped), Vm.version == 0))


def _is_later(made_at: datetime | None, gone_at: datetime | None) -> bool:
    return made_at is not None and gone_at is not None and made_at >= gone_at


async def expect(session: AsyncSession, messages: Sequence[Message[Body]]) -> Expected:
    """Know the VMs, of which nothing is said yet. One that is no create's may be anything."""
    new = {UUID(m.subject): _row(m) for m in reversed(messages) if _makes_known(m)}
    rows = await _locked(session, {UUID(m.subject) for m in messages})
    missing = [row for vm_id, row in new.items() if vm_id not in rows]
    if missing:
        await session.execute(insert(session, VMS).on_conflict_do_nothing(), missing)
        rows |= await _locked(session, {UUID(str(row["vm_id"])) for row in missing})
    return Expected(rows, await _owners(session, messages, rows), await _clocks(session, messages))


def _makes_known(message: Message[Body]) -> bool:
    match message.data:
        case operation.Started() | operation.Issued():
            return True
        case operation.Failed(command=watches.CREATE) | operation.Cancelled(command=watches.CREATE):
            return True
        case _:
            return False


def _row(message: Message[Body]) -> dict[str, object]:
    creates = getattr(message.data, "command", "") == watches.CREATE
    state = VmState.REQUESTED if creates else VmState.UNKNOWN
    return {
        "vm_id": UUID(message.subject),
        "project_id": message.project_id,
        "account": message.account,
        "state": state.value,
        "version": 0,
    }


async def _locked(session: AsyncSession, vm_ids: Collection[UUID]) -> dict[UUID, Vm]:
    """In one order, so that two transactions cannot wait in a ring."""
    asked = select(Vm).where(among(Vm.vm_id, vm_ids)).order_by(Vm.vm_id).with_for_update()
    return {row.vm_id: row for row in await session.scalars(asked)}


async def _owners(
    session: AsyncSession, messages: Sequence[Message[Body]], rows: dict[UUID, Vm]
) -> dict[Server, UUID]:
    """Of the servers that are named and that their VM does not have yet."""
    named = {
        m.data.server_id
        for m in messages
        if isinstance(m.data, _Says)
        and (row := rows.get(UUID(m.subject))) is not None
        and m.data.server_id not in {None, row.server_id}
    }
    if not named:
        return {}
    theirs = among(Vm.server_id, named), Vm.state != VmState.DELETED.value
    found = await session.execute(select(Vm.account, Vm.server_id, Vm.vm_id).where(*theirs))
    return {(account, server_id or ""): vm_id for account, server_id, vm_id in found.tuples()}


async def _clocks(session: AsyncSession, messages: Sequence[Message[Body]]) -> dict[str, datetime]:
    ends = (operation.Failed, operation.Cancelled)
    accounts = {m.account for m in messages if isinstance(m.data, ends)}
    if not accounts:
        return {}
    asked = select(Account.account, Account.since).where(among(Account.account, accounts))
    found = (await session.execute(asked)).tuples()
    return {account: since for account, since in found if since is not None}
