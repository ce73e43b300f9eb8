"""What sync does when it hears how operations go: watch their VMs, and close what has no server.

A batch is taken at once: its VMs are read and locked in one order, what it says is worked out on
them in the order in which it was said, and watches are written by one statement each.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.inbox import take_many
from chassis.leases import Clock
from chassis.outbox import say
from chassis.wire import Record
from contracts.message import Body, Message
from contracts.operation import events as operation
from services.sync import watches
from services.sync.closing import close, create_ended, create_failed, import_ended
from services.sync.expecting import Expected, expect
from services.sync.giving_way import asked_for, give_way
from services.sync.hearsay import Hearsay
from services.sync.patience import Promptness
from services.sync.settings import SyncSettings

Wake = Callable[[str], None]
Messages = Sequence[Message[Body]]


class Handlers:
    """Takes `vm.events`. `wake` is called with an account once what began there is committed."""

    def __init__(
        self, settings: SyncSettings, clock: Clock, wake: Wake, promptness: Promptness
    ) -> None:
        self.look_after = timedelta(seconds=settings.look_after_seconds)
        self.delete_look_after = timedelta(seconds=settings.delete_look_after_seconds)
        self.longest_way = timedelta(seconds=settings.backoff_max_seconds)
        self.clock = clock
        self.wake = wake
        self.promptness = promptness

    async def on_vm_events(
        self, session: AsyncSession, batch: Sequence[tuple[Hearsay, Record]]
    ) -> None:
        """Take what a batch says of operations, each message once."""
        heard = {h.message.id: h.message for h, _ in batch if h.message is not None}
        if not heard:
            return
        fresh = await take_many(session, list(heard.values()), self.clock())
        messages = [message for message in heard.values() if message.id in fresh]
        if messages:
            await self._take(session, messages)

    async def _take(self, session: AsyncSession, messages: Messages) -> None:
        expected = await expect(session, messages)
        noted = watches.Noted()
        said: list[Message[Body]] = []
        for message in messages:
            self.promptness.heard(message.time, self.clock())
            self._note(noted, message)
            said += self._follow(expected, message)
        if said:
            await say(session, *said)
        await give_way(session, asked_for(messages, self.longest_way))
        await noted.write(session)
        await expected.write(session, self.clock)
        for account in {m.account for m in messages if _begins(m)}:
            self._wake_after_commit(session, account)

    def _note(self, noted: watches.Noted, message: Message[Body]) -> None:
        """Whom to watch from now on, how, and whom no longer."""
        match message.data:
            case operation.Started() as data:
                noted.watch(self._watch(message, data.command, state=watches.STARTED))
            case operation.Issued() as data:
                noted.watch(self._watch(message, data.command, **self._issued(data)))
            case operation.Retrying(deadline_at=deadline):
                noted.retry(message.operation_id, deadline)
            case operation.Succeeded() | operation.Failed() | operation.Cancelled():
                noted.end(message.operation_id)
            case _:
                pass

    def _follow(self, expected: Expected, message: Message[Body]) -> Messages:
        """What it makes of the VM."""
        row = expected.vm(message)
        if row is None:
            return ()
        match message.data:
            case operation.Started(server_id=server_id, command=command):
                if command != watches.IMPORT:
                    expected.has(row, server_id)
            case operation.Issued(server_id=server_id, command=command, called_at=called_at):
                made_at = called_at if command == watches.CREATE else None
                if expected.has(row, server_id, made_at=made_at):
                    row.look_due_at = self.clock()
            case operation.Succeeded(command=watches.CREATE, server_id=server_id):
                create_ended(expected, row, server_id, self.clock)
            case operation.Failed(command=watches.CREATE) as data:
                return create_failed(expected, row, message, data, self.clock)
            case (
                operation.Failed(command=watches.IMPORT)
                | operation.Cancelled(command=watches.IMPORT)
            ):
                import_ended(expected, row)
            case operation.Cancelled(command=watches.CREATE):
                return close(expected, row, message, self.clock)
            case _:
                pass
        return ()

    def _issued(self, data: operation.Issued) -> dict[str, Any]:
        """Where no sweep can answer it is looked at now; else if no sweep shows it in time."""
        wait = self.delete_look_after if data.command == watches.DELETE else self.look_after
        now = self.clock()
        due = now + wait if watches.shows_in_sweep(data.command) else now
        return {"state": watches.ISSUED, "called_at": data.called_at, "look_due_at": due}

    def _watch(self, message: Message[Body], command: str, **values: object) -> dict[str, Any]:
        return {
            "operation_id": message.operation_id,
            "vm_id": UUID(message.subject),
            "account": message.account,
            "command": command,
            "called_at": None,
            "look_due_at": None,
            "ends_by": self.clock() + watches.patience(command),
            "actor": message.actor,
            "request_id": message.request_id,
            "traceparent": message.traceparent,
            **values,
        }

    def _wake_after_commit(self, session: AsyncSession, account: str) -> None:
        def wake(_session: object) -> None:
            self.wake(account)

        event.listen(session.sync_session, "after_commit", wake, once=True)


def _begins(message: Message[Body]) -> bool:
    return isinstance(message.data, operation.Started | operation.Issued)
