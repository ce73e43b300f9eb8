"""The read model told anew, in memory: from all that was asked and all that happened, from the first.

By the same functions that the gateway accepts and projects with, each at its message's time.
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from typing import Any, get_args
from uuid import UUID

from chassis.identity import Caller
from contracts.identity import Role
from contracts.message import Body, Command, Message, utc_now
from contracts.operation.commands import OperationCommand
from contracts.vm.commands import Create, Import
from contracts.vm.events import Changed, Observed, State
from services.gateway import steering
from services.gateway.drafts import Draft, new_vm, next_on, operation_of
from services.gateway.progress import Held, Told, blank_vm
from services.gateway.projection import Board
from services.gateway.references import Resolved
from services.gateway.restocking import Stock
from services.gateway.tables import OPERATIONS, VMS
from services.gateway.turns import Open

_STEERS = get_args(OperationCommand)
_HAPPENED = (Changed, Observed, *get_args(Told))
_MAKES = {Create.wire_name(), Import.wire_name()}
REPEATS = 200_000
"""How many messages back one that comes again is known; a relay repeats its last batch at most."""


class Retold(Board):
    """Every VM and operation that the messages tell of.

    Hear what was asked before what happened, each in the order per VM in which it was said; the two
    are joined here: what happened to an operation comes behind its command, whatever the clocks say.
    """

    def __init__(self) -> None:
        super().__init__(utc_now())
        self.asked: set[UUID] = set()
        """The operations whose commands were heard: of the others only their events are known."""
        self.made: set[UUID] = set()
        """The VMs whose creates were heard."""
        self.stock = Stock()
        """Catalog and inventory."""
        self._waiting: defaultdict[UUID, deque[Message[Body]]] = defaultdict(deque)
        self._heard: OrderedDict[UUID, None] = OrderedDict()

    def hear(self, message: Message[Body]) -> None:
        """One message; a second time, and what changes no row, nothing."""
        data = message.data
        if self._is_again(message):
            return
        if isinstance(data, Command):
            self._waiting[UUID(message.subject)].append(message)
        elif isinstance(data, _HAPPENED):
            self._ask_before(message)
            self._take(message, data)
        elif isinstance(data, State):
            self._see_state(message, data)
        else:
            self.stock.hear(message)

    def end(self) -> None:
        """What was asked and has not shown yet."""
        for waiting in self._waiting.values():
            while waiting:
                self._ask(waiting.popleft())

    def tags(self, vm_ids: Iterable[UUID]) -> list[dict[str, Any]]:
        """The rows of VMs' tags."""
        return [
            {"vm_id": each, "tag": tag, "project_id": self.vms[each].row.project_id}
            for each in vm_ids
            for tag in sorted(set(self.vms[each].row.tags))
        ]

    def _is_again(self, message: Message[Body]) -> bool:
        if message.id in self._heard:
            return True
        self._heard[message.id] = None
        if len(self._heard) > REPEATS:
            self._heard.popitem(last=False)
        return False

    def _ask_before(self, event: Message[Body]) -> None:
        """Ask what was asked before this happened."""
        waiting = self._waiting[UUID(event.subject)]
        named = event.operation_id
        while waiting and (
            waiting[0].time <= event.time or any(each.operation_id == named for each in waiting)
        ):
            self._ask(waiting.popleft())

    def _take(self, message: Message[Body], data: Body) -> None:
        self.now = message.time
        self._known(message)
        self.take(message.model_copy(update={"data": data}))
        vm = self.vms[UUID(message.subject)]
        if getattr(data, "command", "") in _MAKES and not vm.row.owner:
            vm.set(owner=message.actor)  # of a create whose command is not kept any more

    def _see_state(self, message: Message[Body], state: State) -> None:
        """The snapshot of a VM whose changes are too long ago to be kept."""
        vm = self.vms.get(UUID(message.subject))
        if vm is None or state.version > vm.row.version:
            seen = Observed(version=state.version, observed_at=state.observed_at, vm=state.vm)
            self._take(message, seen)

    def _known(self, message: Message[Body]) -> Held:
        vm_id = UUID(message.subject)
        if vm_id not in self.vms:
            row = dict.fromkeys(VMS.c.keys()) | blank_vm(vm_id, message)
            self.vms[vm_id] = Held(row)
        return self.vms[vm_id]

    def _ask(self, message: Message[Body]) -> None:
        command, operation_id = message.data, message.operation_id or message.id
        assert isinstance(command, Command)  # noqa: S101 - nothing else waits
        if isinstance(command, _STEERS):
            self._steer(command, operation_id, message)
        elif operation_id not in self.operations:
            self._begin(self._draft(command, operation_id, message))

    def _steer(self, command: Command, operation_id: UUID, message: Message[Body]) -> None:
        operation = self.operations.get(operation_id)
        if operation is not None and operation.row.ended_at is None:
            values = steering.asked(command, operation.as_row, message.actor, message.time)
            operation.set(**values)

    def _draft(self, command: Command, operation_id: UUID, message: Message[Body]) -> Draft:
        caller = Caller(message.actor, message.project_id, Role.VIEWER)
        row = operation_of(operation_id, command, caller, message.request_id, message.time)
        vm_id = UUID(message.subject)
        if isinstance(command, Create) and vm_id not in self.vms:
            self.made.add(vm_id)
            place = (message.project_id, message.account)
            resolved = Resolved(command, command.flavor)
            return new_vm(vm_id, resolved, place, row, message.time, owner=message.actor)
        vm = self._known(message)
        if isinstance(command, Import):
            vm.set(owner=message.actor)
        ahead = [
            Open(each.row.id, each.row.command)
            for each in self._on[vm_id]
            if each.row.ended_at is None
        ]
        return next_on(vm.as_row, ahead, command, row, message.time)

    def _begin(self, draft: Draft) -> None:
        if draft.made is not None:
            self.vms[draft.id] = Held(dict.fromkeys(VMS.c.keys()) | draft.made)
        if draft.changed is not None:
            self.vms[draft.id].set(**draft.changed)
        operation = draft.operation
        self.asked.add(operation["id"])
        self._add(operation["id"], Held(dict.fromkeys(OPERATIONS.c.keys()) | operation))
