"""What the provisioner does with messages: it writes rows, or settles them, and no more.

A batch is one transaction and a handful of statements, however many messages it holds.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from chassis.among import among
from chassis.consumer import Batch
from chassis.database import excluded, insert
from chassis.inbox import take_many
from chassis.leases import Clock
from chassis.telemetry import consuming
from chassis.wire import Passed, Record, only
from contracts.message import Body, Command, Message
from contracts.operation.commands import Abandon, Cancel, Retry
from contracts.operation.states import OperationState
from contracts.topics import VM_COMMANDS
from contracts.vm.commands import Create, Delete
from contracts.vm.events import Changed, Observed
from contracts.vm.states import GONE, VmSnapshot, VmState
from services.provisioner import endings, interventions, ledger, undoing, unheard
from services.provisioner.line import front_of, let_in
from services.provisioner.outcome import leave
from services.provisioner.servers import Sight, keep
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.settling import Done, Doubt, Failed, NotYet, Observation, settled
from services.provisioner.tables import Operation

read_sights = only(Changed, Observed)
"""How records of `vm.events` are read: of what the provisioner itself says, it hears nothing new."""
_MOST_DOUBLINGS = 6
_HEARD = excluded("command", "data", "due_at", "error", "blocked_on", "deadline_at")
"""What a command brings to the row of one that was steered before it was heard."""


class Handlers:
    """The handlers of `vm.commands` and `vm.events`. `wake` tells the worker of new work."""

    def __init__(self, rules: ProvisionerSettings, wake: asyncio.Event, clock: Clock) -> None:
        self.rules = rules
        self.wake = wake
        self.clock = clock

    async def on_vm_commands(self, session: AsyncSession, batch: Batch) -> None:
        """Queue commands, each once by its id; then do what is asked of operations, each once."""
        messages = [message for message, _ in batch]
        about = [m for m in messages if isinstance(m.data, Cancel | Retry | Abandon)]
        await self._queue(session, [m for m in messages if m not in about])
        if about:
            await self._intervene(session, about)
        await endings.conclude(session, self.clock())
        self._wake_after_commit(session)

    async def on_vm_events(
        self, session: AsyncSession, batch: Sequence[tuple[Message[Body] | Passed, Record]]
    ) -> None:
        """Keep what sync saw of VMs, and settle the operations that wait for it.

        What comes again says nothing new: VMs count their versions, operations know their state.
        """
        seen = [
            Sight(message, message.data)
            for message, _ in batch
            if not isinstance(message, Passed) and isinstance(message.data, Changed | Observed)
        ]
        if not seen:
            return
        news = await keep(session, seen)
        fronts = await front_of(session, {sight.vm_id for sight in seen})
        for sight in seen:
            operation = fronts.get(sight.vm_id)
            if operation is not None and operation.ended_at is None:
                await self._judge(session, operation, sight)
        await self._note_deleted(session, [sight for sight in seen if sight.vm_id in news])
        if await endings.conclude(session, self.clock()):
            self._wake_after_commit(session)

    async def _queue(self, session: AsyncSession, messages: Sequence[Message[Body]]) -> None:
        asked = [(m, m.data) for m in messages if isinstance(m.data, Command)]
        if not asked:
            return
        now = self.clock()
        # A VM begins with its create: nothing stands ahead of that.
        known = {UUID(m.subject) for m, command in asked if not isinstance(command, Create)}
        busy = set(await front_of(session, known)) if known else set[UUID]()
        rows: list[dict[str, object]] = []
        for message, command in asked:
            row = _queued(message, command)
            rows.append(row | {"due_at": None if row["vm_id"] in busy else now})
            busy.add(UUID(message.subject))
        once = insert(session, unheard.OPERATIONS).on_conflict_do_update(
            index_elements=["id"], set_=_HEARD, where=unheard.may_be_filled()
        )
        await session.execute(once, rows)

    async def _intervene(self, session: AsyncSession, messages: Sequence[Message[Body]]) -> None:
        """The operations are locked in one order, and are touched in the order of the messages."""
        now = self.clock()
        new = await take_many(session, messages, now)
        rows = await _targets(session, messages)
        made = await unheard.make(session, [m for m in messages if m.id in new], rows)
        for message in messages:
            if message.id not in new:
                continue
            new.remove(message.id)
            with consuming("provisioner", VM_COMMANDS.name, message):
                match message.data:
                    case Cancel(target=target) if operation := _its(made | rows, target, message):
                        interventions.cancel(session, operation, now, self.rules)
                    case Retry(target=target) if operation := _its(rows, target, message):
                        interventions.retry(session, operation, now, self.rules)
                    case Abandon(target=target, reason=reason):
                        if operation := _its(rows, target, message):
                            interventions.abandon(session, operation, reason, now)
                        elif operation := _its(made, target, message):
                            interventions.give_up(session, operation, reason, now)
                    case _:
                        continue

    async def _judge(self, session: AsyncSession, operation: Operation, sight: Sight) -> None:
        if operation.unreadable:
            return
        if operation.compensating:
            self._undo_sooner(session, operation, sight.vm)
        elif _is_others(operation, sight.vm):
            return
        elif operation.state == OperationState.WAITING and operation.called_at is not None:
            on_behalf = (
                isinstance(sight.data, Observed) and sight.message.operation_id == operation.id
            )
            observation = Observation(sight.vm, sight.data.observed_at, on_behalf)
            await self._settle(session, operation, operation.called_at, observation)

    async def _settle(
        self,
        session: AsyncSession,
        operation: Operation,
        called_at: datetime,
        seen: Observation,
    ) -> None:
        operation.server_id = operation.server_id or seen.vm.server_id
        now, command = self.clock(), operation.asks
        match settled(command, called_at, seen):
            case Done() if isinstance(command, Delete):
                if not operation.leaving:
                    leave(operation, now)
                    self._wake_after_commit(session)
            case Done():
                endings.succeed(session, operation, now)
            case Failed() as failed:
                undoing.failed(session, operation, failed, now, self.rules)
                self._wake_after_commit(session)
            case Doubt() if operation.lease_token is None:
                soon = now + _patience(operation.doubts)
                operation.due_at = min(operation.due_at or soon, soon)
                self._wake_after_commit(session)
            case Doubt() | NotYet():
                return

    def _undo_sooner(self, session: AsyncSession, operation: Operation, vm: VmSnapshot) -> None:
        gone = vm.state in GONE or vm.state is VmState.REQUESTED
        if gone and operation.lease_token is None:
            operation.due_at = self.clock()
            self._wake_after_commit(session)

    async def _note_deleted(self, session: AsyncSession, seen: Sequence[Sight]) -> None:
        """In the ledger; and what waits for quota in the same account is tried."""
        now = self.clock()
        deleted = [s for s in seen if s.is_news and s.vm.state is VmState.DELETED]
        if server_ids := [s.vm.server_id for s in deleted if s.vm.server_id is not None]:
            await ledger.seen_gone(session, server_ids, now)
        for account in sorted({sight.message.account for sight in deleted}):
            if await let_in(session, account, now, self.rules.quota_wakes):
                self._wake_after_commit(session)

    def _wake_after_commit(self, session: AsyncSession) -> None:
        """Once per transaction, however many messages it takes."""
        if not session.info.setdefault("wakes", False):
            session.info["wakes"] = True
            event.listen(session.sync_session, "after_commit", self._wake, once=True)

    def _wake(self, _session: Session) -> None:
        self.wake.set()


def _queued(message: Message[Body], command: Command) -> dict[str, object]:
    return unheard.begun_by(message) | {
        "id": message.id,
        "command": command.wire_name(),
        "data": command.model_dump(mode="json", exclude={"type"}),
        "error": None,
        "blocked_on": None,
        "deadline_at": message.time + command.deadline,
    }


async def _targets(
    session: AsyncSession, messages: Sequence[Message[Body]]
) -> dict[UUID, Operation]:
    ids = {m.data.target for m in messages if isinstance(m.data, Cancel | Retry | Abandon)}
    wanted = select(Operation).where(among(Operation.id, ids)).order_by(Operation.seq)
    return {row.id: row for row in (await session.execute(wanted.with_for_update())).scalars()}


def _its(rows: dict[UUID, Operation], target: UUID, message: Message[Body]) -> Operation | None:
    """The target, if it is an operation on the message's VM and in its project."""
    operation = rows.get(target)
    if operation is None or operation.project_id != message.project_id:
        return None
    return operation if operation.vm_id == UUID(message.subject) else None


def _is_others(operation: Operation, vm: VmSnapshot) -> bool:
    """Whether what was seen is another server than the operation's: a surplus or an earlier one."""
    if vm.server_id is None or operation.server_id is None:
        return operation.rebuilds > 0 and vm.state in GONE
    return operation.server_id != vm.server_id


def _patience(doubts: int) -> timedelta:
    """How long to wait before the cloud is asked for its record again."""
    return timedelta(seconds=2 ** min(doubts, _MOST_DOUBLINGS) - 1)
