"""Whether what sync saw settles an operation that waits: pure functions of command and observation."""

from dataclasses import dataclass
from datetime import datetime

from contracts.errors import ErrorCode
from contracts.operation.states import OperationError
from contracts.vm.commands import Create, Delete, Import, Sync, Update, VmCommand
from contracts.vm.states import GONE, PRESENT, VmSnapshot, VmState

_UNFINISHED = frozenset({VmState.BUILDING, VmState.UNKNOWN, VmState.REQUESTED})
_BUILT = PRESENT - _UNFINISHED - {VmState.ERROR}


@dataclass(frozen=True)
class Observation:
    """What sync saw, when by the cloud's clock; `on_behalf`: it looked for this operation's sake."""

    vm: VmSnapshot
    observed_at: datetime
    on_behalf: bool = False


@dataclass(frozen=True)
class Done:
    """What was asked for is seen."""


@dataclass(frozen=True)
class Failed:
    """It will never be seen. `gone`: nothing of the server is left."""

    error: OperationError
    gone: bool = False


@dataclass(frozen=True)
class NotYet:
    """Under way, as far as one can see."""


@dataclass(frozen=True)
class Doubt:
    """Nothing is under way and nothing was reached: only the cloud's record can tell."""


Verdict = Done | Failed | NotYet | Doubt


def settled(command: VmCommand, called_at: datetime, seen: Observation) -> Verdict:
    """What an observation says about a command that the cloud took at `called_at`.

    The cloud's clock counts in seconds: what was seen in the very second of the call may have been
    seen before it, so that a command which ends where it began asks for a later one.
    """
    match command:
        case Sync():
            counts = seen.on_behalf or seen.observed_at > called_at
            return Done() if counts else NotYet()
        case Import():
            return _taken_in(called_at, seen)
        case Create() if _has_lost_its_server(seen.vm):
            return Doubt() if seen.observed_at > called_at else NotYet()
        case _:
            return _asked(command, called_at, seen)


def _asked(command: VmCommand, called_at: datetime, seen: Observation) -> Verdict:
    """Of a command that asks the cloud to change something."""
    if seen.vm.state in GONE:
        return _gone(type(command), called_at, seen)
    if seen.observed_at < called_at or seen.vm.state in _UNFINISHED:
        return NotYet()
    if seen.vm.state is VmState.ERROR and _is_failure(command, seen.vm):
        return Failed(_fault(seen.vm))
    later = seen.observed_at > called_at
    return NotYet() if seen.vm.task is not None else _idle(command, seen.vm, later=later)


def _taken_in(called_at: datetime, seen: Observation) -> Verdict:
    """A look after the call, or for its sake, that shows the server."""
    counts = seen.on_behalf or seen.observed_at > called_at
    if not counts or seen.vm.state in {VmState.UNKNOWN, VmState.REQUESTED}:
        return NotYet()
    return _gone(Import, called_at, seen) if seen.vm.state in GONE else Done()


def _has_lost_its_server(vm: VmSnapshot) -> bool:
    """So sync shows a create that is under way and whose server is not there (any more)."""
    return vm.state is VmState.REQUESTED and vm.server_id is None


def _idle(command: VmCommand, vm: VmSnapshot, *, later: bool) -> Verdict:
    if reached(command, vm):
        return Done() if later or not _ends_where_it_began(command) else NotYet()
    return Doubt() if later else NotYet()


def reached(command: VmCommand, vm: VmSnapshot) -> bool:
    """Whether a VM is as the command wants it, whoever made it so."""
    if isinstance(command, Update):
        return _shows(command, vm)
    if isinstance(command, Create):
        return vm.state in _BUILT
    return vm.state is command.change.end


def _ends_where_it_began(command: VmCommand) -> bool:
    return command.change.returns and not isinstance(command, Update)


def _shows(wanted: Update, vm: VmSnapshot) -> bool:
    pairs = (
        (wanted.name, vm.name),
        (wanted.description, vm.description or ""),
        (wanted.metadata, vm.metadata),
        (wanted.tags, sorted(vm.tags)),
    )
    return all(want is None or want == has for want, has in pairs)


def _is_failure(command: VmCommand, vm: VmSnapshot) -> bool:
    """Whether ERROR says that the command failed: not where the VM may have been in it before."""
    if isinstance(command, Create):
        return True
    return VmState.ERROR not in command.change.start and vm.task is None


def _fault(vm: VmSnapshot) -> OperationError:
    detail = (
        vm.fault.message if vm.fault else "The cloud shows the server in ERROR, without a word."
    )
    return OperationError(code=ErrorCode.CLOUD_FAULT, detail=detail)


def _gone(command: type[VmCommand], called_at: datetime, seen: Observation) -> Verdict:
    """Deleted is for ever, so that even an early observation counts; missing may pass."""
    deleted = seen.vm.state is VmState.DELETED
    if not deleted and seen.observed_at < called_at:
        return NotYet()
    if command is Delete:
        return Done()
    how = "was deleted" if deleted else "is no longer there"
    detail = f"The server {how} in the cloud while {command.title()} waited for its effect."
    return Failed(OperationError(code=ErrorCode.NO_SERVER, detail=detail), gone=deleted)
