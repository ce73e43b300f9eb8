"""Intake: one transaction in which a command is checked, written down and said, or nothing happens."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import changed, insert
from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.leases import Clock
from chassis.outbox import say
from chassis.problems import Refusal
from chassis.telemetry import current_traceparent
from contracts.errors import ErrorCode
from contracts.message import Body, Command, Message
from contracts.operation.states import OperationState
from contracts.vm.commands import Create
from contracts.vm.states import VmState
from services.gateway import steering
from services.gateway.etags import Tags, require_match
from services.gateway.references import resolve
from services.gateway.stuck import stuck_at
from services.gateway.tables import IDEMPOTENCY_KEYS, OPERATIONS, VM_TAGS, VMS
from services.gateway.turns import require_state, under_way


@dataclass(frozen=True)
class Asked:
    """One request that commands a VM. `vm_id` is None for a create."""

    caller: Caller
    command: Command
    vm_id: UUID | None
    request_id: str
    intent: str
    """Method and path, of which with the body the idempotency key is kept."""
    key: str | None = None
    if_match: Tags | None = None

    @property
    def digest(self) -> bytes:
        """What another request must equal to be the same one."""
        said = f"{self.intent}\n{self.command.model_dump_json()}"
        return hashlib.sha256(said.encode()).digest()


@dataclass(frozen=True)
class Accepted:
    """An operation that exists now; `replayed` if the same request made it earlier."""

    operation_id: UUID
    replayed: bool = False


class Intake:
    """Accepts commands."""

    def __init__(self, accounts: dict[str, str], clock: Clock, keys_kept: timedelta) -> None:
        self.accounts = accounts
        self.clock = clock
        self.keys_kept = keys_kept

    async def accept(self, session: AsyncSession, asked: Asked) -> Accepted:
        """Write the operation down and say its command, in the caller's transaction.

        Refusal or Terminal: NOT_FOUND, PRECONDITION_FAILED, STATE_CONFLICT, INVALID, KEY_REUSED.
        """
        operation_id, now = new_id(), self.clock()
        if asked.key and (first := await self._earlier(session, asked, operation_id, now)):
            return first
        if isinstance(asked.command, Create):
            vm_id, command = await self._make(session, asked, asked.command, now)
        else:
            vm_id, command = await self._turn(session, asked), asked.command
        vm = await _begin(session, vm_id, operation_id, command, now)
        await session.execute(OPERATIONS.insert(), _operation(operation_id, vm, asked, now))
        await say(session, self._message(asked, vm, command, operation_id, operation_id))
        return Accepted(operation_id)

    async def steer(self, session: AsyncSession, asked: Asked, operation_id: UUID) -> None:
        """Ask something of an operation, as its end; what is asked already says nothing new.

        Terminal: NOT_FOUND, CONFLICT if it has ended or cannot be undone.
        """
        vm, operation = await _locked(session, operation_id, asked.caller.project_id)
        if reason := steering.why_not(type(asked.command), operation):
            raise Terminal(ErrorCode.CONFLICT, reason)
        if steering.is_asked(type(asked.command), operation):
            return
        values = steering.asked(asked.command, operation, asked.caller.actor, self.clock())
        mine = OPERATIONS.c.id == operation.id
        await session.execute(update(OPERATIONS).where(mine).values(values))
        await say(session, self._message(asked, vm, asked.command, new_id(), operation.id))

    async def _earlier(
        self, session: AsyncSession, asked: Asked, operation_id: UUID, now: datetime
    ) -> Accepted | None:
        """What the same key led to before; None, and the key is taken, if nothing.

        Two requests at once: the second one's insert waits for the first one's transaction.
        """
        kept = IDEMPOTENCY_KEYS.c
        mine = (kept.project_id == asked.caller.project_id) & (kept.key == asked.key)
        old = mine & (kept.created_at < now - self.keys_kept)
        await session.execute(delete(IDEMPOTENCY_KEYS).where(old))
        row = insert(session, IDEMPOTENCY_KEYS).values(
            project_id=asked.caller.project_id,
            key=asked.key,
            digest=asked.digest,
            operation_id=operation_id,
            created_at=now,
        )
        if await changed(session, row.on_conflict_do_nothing()):
            return None
        first = (await session.execute(select(IDEMPOTENCY_KEYS).where(mine))).one()
        if first.digest != asked.digest:
            raise Refusal(ErrorCode.KEY_REUSED, operation=str(first.operation_id))
        return Accepted(first.operation_id, replayed=True)

    async def _make(
        self, session: AsyncSession, asked: Asked, create: Create, now: datetime
    ) -> tuple[UUID, Command]:
        project_id, vm_id = asked.caller.project_id, new_id()
        account = self.accounts.get(project_id)
        if account is None:
            raise Terminal(ErrorCode.CONFLICT, "The project is mapped to no cloud account.")
        resolved = await resolve(session, account, create)
        row = _requested(vm_id, project_id, account, now)
        row |= _described(resolved.command) | {"flavor": resolved.flavor}
        await session.execute(VMS.insert(), row)
        tags = [{"vm_id": vm_id, "tag": t, "project_id": project_id} for t in create.tags]
        if tags:
            await session.execute(VM_TAGS.insert(), tags)
        return vm_id, resolved.command

    async def _turn(self, session: AsyncSession, asked: Asked) -> UUID:
        """Lock the VM and see that the command may be asked of it now."""
        vm = await _vm(session, asked.vm_id, asked.caller.project_id)
        require_match(asked.if_match, vm.revision)
        require_state(vm, await under_way(session, vm.id), asked.command)
        return UUID(str(vm.id))

    def _message(
        self, asked: Asked, vm: Row[Any], data: Command, message_id: UUID, operation_id: UUID
    ) -> Message[Body]:
        return Message(
            id=message_id,
            source="hostler/gateway",
            time=self.clock(),
            subject=str(vm.id),
            project_id=vm.project_id,
            account=vm.account,
            actor=asked.caller.actor,
            operation_id=operation_id,
            request_id=asked.request_id,
            traceparent=current_traceparent(),
            data=data,
        )


async def _vm(session: AsyncSession, vm_id: UUID | None, project_id: str) -> Row[Any]:
    mine = (VMS.c.id == vm_id) & (VMS.c.project_id == project_id)
    row = (await session.execute(select(VMS).where(mine).with_for_update())).first()
    if row is None:
        raise Terminal(ErrorCode.NOT_FOUND)
    return row


async def _locked(
    session: AsyncSession, operation_id: UUID, project_id: str
) -> tuple[Row[Any], Row[Any]]:
    """A VM's row, locked, and its operation's: whoever writes an operation holds its VM first."""
    mine = (OPERATIONS.c.id == operation_id) & (OPERATIONS.c.project_id == project_id)
    vm_id = await session.scalar(select(OPERATIONS.c.vm_id).where(mine))
    vm = await _vm(session, vm_id, project_id)
    return vm, (await session.execute(select(OPERATIONS).where(mine))).one()


async def _begin(
    session: AsyncSession, vm_id: UUID, operation_id: UUID, command: Command, now: datetime
) -> Row[Any]:
    """Count the operation on the VM's row, and show it there if nothing else is under way."""
    values: dict[str, Any] = {"operations": VMS.c.operations + 1}
    busy = select(VMS.c.operation_id).where(VMS.c.id == vm_id)
    if await session.scalar(busy) is None:
        values |= {
            "operation_id": operation_id,
            "operation_command": command.wire_name(),
            "revision": VMS.c.revision + 1,
            "updated_at": now,
        }
    count = update(VMS).where(VMS.c.id == vm_id).values(values).returning(VMS)
    return (await session.execute(count)).one()


def _requested(vm_id: UUID, project_id: str, account: str, now: datetime) -> dict[str, Any]:
    return {
        "id": vm_id,
        "project_id": project_id,
        "account": account,
        "state": VmState.REQUESTED.value,
        "addresses": [],
        "operations": 0,
        "version": 0,
        "revision": 0,
        "created_at": now,
        "updated_at": now,
    }


def _described(create: Create) -> dict[str, Any]:
    """What a create says of the VM, until sync has seen it."""
    said = {"name", "description", "image", "metadata", "tags", "key_name", "availability_zone"}
    row = create.model_dump(include=said | {"security_groups"})
    return {**row, "folded_name": create.name.casefold()}


def _operation(operation_id: UUID, vm: Row[Any], asked: Asked, now: datetime) -> dict[str, Any]:
    return {
        "id": operation_id,
        "project_id": vm.project_id,
        "account": vm.account,
        "vm_id": vm.id,
        "seq": vm.operations,
        "command": asked.command.wire_name(),
        "actor": asked.caller.actor,
        "request_id": asked.request_id,
        "state": OperationState.QUEUED.value,
        "attempts": 0,
        "steps": [{"name": "accepted", "at": now.isoformat(), "detail": None}],
        "created_at": now,
        "deadline_at": now + asked.command.deadline,
        "stuck_at": stuck_at(asked.command, now),
    }
