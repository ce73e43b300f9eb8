"""Intake: one transaction in which a command is checked, written down and said, or nothing happens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.errors import HostlerError, Terminal
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.leases import Clock
from chassis.origin import Provenance, attributed
from chassis.outbox import insert_and_say, say
from chassis.rows import update_rows
from chassis.seals import Seal
from chassis.telemetry import current_traceparent
from contracts.errors import ErrorCode
from contracts.message import Body, Command, Message
from contracts.vm.commands import Create
from services.gateway import steering
from services.gateway.drafts import Draft, new_vm, next_on, operation_of
from services.gateway.etags import Tags, require_match
from services.gateway.idempotency import Key, Use, claim, earlier
from services.gateway.likeness import Digests, Likeness, unlike
from services.gateway.references import References
from services.gateway.sealing import Sealer, require_open
from services.gateway.tables import OPERATIONS, VM_TAGS, VMS
from services.gateway.turns import Open, require_state, under_way


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

    traceparent: str = ""
    """The trace that goes on, where it is not that of whoever calls."""
    origin: Provenance | None = None
    """The request that it came by, where it is not the one under way."""

    @property
    def its_key(self) -> Key:
        """The Idempotency-Key in its project; only where there is one."""
        return Key(self.caller.project_id, self.key or "")

    @property
    def said(self) -> str:
        """What another request must equal to be the same one."""
        return f"{self.intent}\n{self.command.model_dump_json()}"


@dataclass(frozen=True)
class Accepted:
    """An operation that exists now; `replayed` if the same request made it earlier."""

    operation_id: UUID
    replayed: bool = False
    row: Row[Any] | None = None
    """The operation's row with its turn, where it was made now."""


def as_it_is(message: Message[Body]) -> Message[Body]:
    """No signature."""
    return message


class Intake:
    """Accepts commands. Each is said as `sign` makes it: signed, where the gateway runs."""

    def __init__(
        self,
        accounts: dict[str, str],
        clock: Clock,
        keys_kept: timedelta,
        references: References,
        *,
        sealer: Sealer,
        digests: Digests,
        sign: Seal = as_it_is,
    ) -> None:
        self.accounts = accounts
        self.clock = clock
        self.keys_kept = keys_kept
        self.references = references
        self.sealer = sealer
        self.digests = digests
        self.sign = sign

    async def accept(self, session: AsyncSession, asked: Asked) -> Accepted:
        """Write the operation down and say its command, in the caller's transaction.

        Refusal or Terminal: NOT_FOUND, PRECONDITION_FAILED, STATE_CONFLICT, INVALID, KEY_REUSED.
        """
        [outcome] = await self.accept_many(session, [asked])
        if isinstance(outcome, HostlerError):
            raise outcome
        return outcome

    async def accept_many(
        self, session: AsyncSession, many: Sequence[Asked]
    ) -> list[Accepted | HostlerError]:
        """The same for several at once: what one is refused for touches none of the others.

        No key of a project and no VM may stand in `many` twice. VMs are locked first, then keys are
        taken, each in one order for all, so that transactions at once never wait for each other.
        """
        now = self.clock()
        drafts = await self._drafts(session, many, now)
        claims: dict[Key, Use] = {}
        asked_before: list[Key] = []
        for asked, draft in zip(many, drafts, strict=True):
            if asked.key and isinstance(draft, Draft):
                digest = self.digests.of(asked.its_key, asked.said)
                claims[asked.its_key] = Use(digest, draft.operation["id"])
            elif asked.key:
                asked_before.append(asked.its_key)
        taken = await claim(session, claims, now, self.keys_kept)
        taken |= await earlier(session, asked_before, now, self.keys_kept)
        outcomes = [
            _replayed(asked, taken[asked.its_key], self.digests)
            if asked.key and asked.its_key in taken
            else draft
            for asked, draft in zip(many, drafts, strict=True)
        ]
        await self.write(session, many, outcomes)
        return [
            Accepted(each.operation["id"], row=each.row()) if isinstance(each, Draft) else each
            for each in outcomes
        ]

    async def steer(self, session: AsyncSession, asked: Asked, operation_id: UUID) -> None:
        """Ask something of an operation, as its end; what is asked already says nothing new.

        Terminal: NOT_FOUND, CONFLICT if it has ended or cannot be undone.
        """
        vm, operation = await _locked(session, operation_id, asked.caller.project_id)
        if reason := steering.why_not(type(asked.command), operation):
            raise Terminal(ErrorCode.CONFLICT, reason)
        now = self.clock()
        if steering.is_asked(type(asked.command), operation, now):
            return
        values = steering.asked(asked.command, operation, asked.caller.actor, now)
        mine = OPERATIONS.c.id == operation.id
        await session.execute(update(OPERATIONS).where(mine).values(values))
        command = asked.command.model_copy(update={"command": operation.command})
        steered = _message(asked, vm, command, (new_id(), operation.id), now)
        await say(session, self.sign(steered))

    async def _drafts(
        self, session: AsyncSession, many: Sequence[Asked], now: datetime
    ) -> list[Draft | HostlerError]:
        vms = await _vms(session, [asked.vm_id for asked in many if asked.vm_id is not None])
        ahead = await under_way(session, vms)
        drafts: list[Draft | HostlerError] = []
        for asked in many:
            try:
                if asked.vm_id is None:
                    drafts.append(await self._make(session, asked, now))
                else:
                    vm = vms.get(asked.vm_id)
                    drafts.append(self._turn(asked, vm, ahead.get(asked.vm_id, []), now))
            except HostlerError as refusal:
                drafts.append(refusal)
        return drafts

    async def _make(self, session: AsyncSession, asked: Asked, now: datetime) -> Draft:
        project_id, create = asked.caller.project_id, asked.command
        account = self.accounts.get(project_id)
        if account is None:
            raise Terminal(ErrorCode.CONFLICT, "The project is mapped to no cloud account.")
        assert isinstance(create, Create)  # noqa: S101 - every other command is on a VM
        require_open(create)
        resolved = await self.references.resolve(session, account, create)
        operation = operation_of(new_id(), create, asked.caller, asked.request_id, now)
        vm_id, owner = new_id(), asked.caller.owner
        sealed = self.sealer.seal(resolved.command, vm_id, operation["id"])
        resolved = replace(resolved, command=sealed)
        return new_vm(vm_id, resolved, (project_id, account), operation, now, owner=owner)

    def _turn(self, asked: Asked, vm: Row[Any] | None, ahead: list[Open], now: datetime) -> Draft:
        """See that the command may be asked of the VM now."""
        if vm is None or vm.project_id != asked.caller.project_id:
            raise Terminal(ErrorCode.NOT_FOUND)
        require_match(asked.if_match, vm.revision)
        require_state(vm, ahead, asked.command)
        operation = operation_of(new_id(), asked.command, asked.caller, asked.request_id, now)
        return next_on(vm, ahead, asked.command, operation, now)

    async def write(
        self, session: AsyncSession, many: Sequence[Asked], outcomes: Sequence[object]
    ) -> None:
        """Write the drafts among `outcomes` and say their commands; the others are passed over."""
        pairs = [
            (asked, draft)
            for asked, draft in zip(many, outcomes, strict=True)
            if isinstance(draft, Draft)
        ]
        drafts = [draft for _, draft in pairs]
        changes = [draft.changed for draft in drafts if draft.changed]
        await update_rows(session, VMS, "id", changes)
        if pairs:
            await insert_and_say(
                session,
                [self.sign(_command(asked, draft)) for asked, draft in pairs],
                (VMS, [draft.made for draft in drafts if draft.made]),
                (VM_TAGS, [row for draft in drafts for row in draft.tags]),
                (OPERATIONS, [draft.operation for draft in drafts]),
            )


def _command(asked: Asked, draft: Draft) -> Message[Body]:
    """Its time is the operation's own: told anew from the message, the row is the same."""
    operation_id: UUID = draft.operation["id"]
    ids = (operation_id, operation_id)
    return _message(asked, draft, draft.command, ids, draft.operation["created_at"])


def _message(
    asked: Asked, vm: Row[Any] | Draft, data: Command, ids: tuple[UUID, UUID], at: datetime
) -> Message[Body]:
    """`ids`: the message's and the operation's."""
    message_id, operation_id = ids
    message = Message[Body](
        id=message_id,
        source="hostler/gateway",
        time=at,
        subject=str(vm.id),
        project_id=vm.project_id,
        account=vm.account,
        actor=asked.caller.actor,
        operation_id=operation_id,
        request_id=asked.request_id,
        override=asked.caller.override,
        traceparent=asked.traceparent or current_traceparent(),
        data=data,
    )
    return attributed(message, asked.origin)


def _replayed(asked: Asked, first: Use, digests: Digests) -> Accepted | HostlerError:
    likeness = digests.compare(first.digest, asked.its_key, asked.said)
    if likeness is Likeness.SAME:
        return Accepted(first.operation_id, replayed=True)
    # To who sees but their own the operation is not named: it may be somebody else's.
    return unlike(likeness, None if asked.caller.is_private else first.operation_id)


async def _vms(session: AsyncSession, vm_ids: list[UUID]) -> dict[UUID, Row[Any]]:
    """The rows of VMs, locked."""
    if not vm_ids:
        return {}
    query = select(VMS).where(among(VMS.c.id, vm_ids)).order_by(VMS.c.id).with_for_update()
    return {row.id: row for row in (await session.execute(query)).all()}


async def _locked(
    session: AsyncSession, operation_id: UUID, project_id: str
) -> tuple[Row[Any], Row[Any]]:
    """A VM's row, locked, and its operation's: whoever writes an operation holds its VM first."""
    mine = (OPERATIONS.c.id == operation_id) & (OPERATIONS.c.project_id == project_id)
    vm_id = await session.scalar(select(OPERATIONS.c.vm_id).where(mine))
    vm = (await _vms(session, [vm_id] if vm_id else [])).get(vm_id or operation_id)
    if vm is None:
        raise Terminal(ErrorCode.NOT_FOUND)
    return vm, (await session.execute(select(OPERATIONS).where(mine))).one()
