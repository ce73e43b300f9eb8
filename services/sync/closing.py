"""What an operation's end makes of a VM: what has no server is said to be deleted or in error."""

from datetime import datetime

from chassis.leases import Clock
from contracts.errors import MEANINGS
from contracts.message import Body, Message
from contracts.operation import events as operation
from contracts.vm.states import Fault, VmSnapshot, VmState
from services.sync.drift import differences, ended
from services.sync.expecting import Expected
from services.sync.saying import Cause, changed, known, show
from services.sync.tables import Vm


def create_ended(expected: Expected, row: Vm, server_id: str | None, clock: Clock) -> None:
    """A create is over. If its server is not there any more, a look at it tells what became of it."""
    if row.server_id is None and server_id is not None and row.state != VmState.DELETED:
        expected.has(row, server_id)
        row.look_due_at = clock()


def create_failed(
    expected: Expected, row: Vm, message: Message[Body], data: operation.Failed, clock: Clock
) -> list[Message[Body]]:
    """With nothing left the VM is deleted; with no server it is in error; else looks tell."""
    if data.gone:
        return close(expected, row, message, clock)
    if data.server_id is None and row.server_id is None:
        fault = Fault(code=MEANINGS[data.error.code].status, message=data.error.detail)
        return close(expected, row, message, clock, fault)
    create_ended(expected, row, data.server_id, clock)
    return []


def import_ended(expected: Expected, row: Vm) -> None:
    """An import came to nothing. Of a VM that was never seen there was nothing said."""
    if row.version == 0:
        expected.drop(row)


def close(
    expected: Expected,
    row: Vm,
    message: Message[Body],
    clock: Clock,
    fault: Fault | None = None,
) -> list[Message[Body]]:
    """Say what has become of a VM of which the cloud holds nothing: deleted, or in error."""
    state = VmState.ERROR if fault else VmState.DELETED
    if row.state == state:
        return []
    before = known(row) or VmSnapshot(state=VmState(row.state), server_id=row.server_id)
    after = ended(before, row.server_id, state)
    after = after.model_copy(update={"fault": fault or after.fault})
    old, new = differences(before, after)
    show(row, after)
    row.version, row.look_due_at = row.version + 1, None
    row.observed_at = _cloud_time(row, expected.clocks.get(row.account), message)
    cause = Cause(message.actor, message.operation_id, message.request_id, message.traceparent)
    return changed(row, old, new, cause, clock)


def _cloud_time(row: Vm, since: datetime | None, message: Message[Body]) -> datetime:
    """The latest that is known of the cloud's clock: a later sight of the VM must count."""
    times = [time for time in (row.observed_at, since) if time is not None]
    return max(times, default=message.time)
