"""How two pictures of a VM differ, and which server stands for it: pure functions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from contracts.vm.states import Address, VmSnapshot, VmState
from drivers.base import Seen

Fields = dict[str, Any]
SILENT = frozenset({"updated_at"})
"""What is kept, but is no event by itself: it moves with every other change, or alone for none."""
_UNFINISHED = frozenset({VmState.BUILDING, VmState.REQUESTED, VmState.UNKNOWN})
_LATEST = datetime.max.replace(tzinfo=UTC)


def canonical(snapshot: VmSnapshot) -> VmSnapshot:
    """The same VM with its lists in one order, so that a cloud that shuffles them changes nothing."""
    lists = {
        "addresses": tuple(sorted(snapshot.addresses, key=_place)),
        "tags": tuple(sorted(snapshot.tags)),
        "security_groups": tuple(sorted(snapshot.security_groups)),
    }
    was = {name: getattr(snapshot, name) for name in lists}
    return snapshot if was == lists else snapshot.model_copy(update=lists)


def _place(address: Address) -> tuple[str, int, str, str]:
    return address.network, address.version, address.kind, address.address


def digest(snapshot: VmSnapshot) -> str:
    """The same for the same picture. It differs between versions that know other fields."""
    return blake2b(snapshot.model_dump_json().encode(), digest_size=16).hexdigest()


def is_idle(snapshot: VmSnapshot) -> bool:
    """Whether the cloud is doing nothing with the server, so that something may follow from it."""
    return snapshot.task is None and snapshot.state not in _UNFINISHED


def differences(old: VmSnapshot | None, new: VmSnapshot) -> tuple[Fields, Fields]:
    """The fields that differ, as they were and as they are, as JSON values.

    Of a VM that was not known everything is new. ({}, {}) if there is nothing to tell.
    """
    after = new.model_dump(mode="json", exclude=set(SILENT))
    if old is None:
        return {}, after
    before = old.model_dump(mode="json", exclude=set(SILENT))
    fields = [name for name in after if before[name] != after[name]]
    return {name: before[name] for name in fields}, {name: after[name] for name in fields}


def ended(last: VmSnapshot | None, server_id: str | None, state: VmState) -> VmSnapshot:
    """What is left of a VM whose server is no more: what it was, in `state`, without addresses."""
    was = last or VmSnapshot(state=state, server_id=server_id)
    return was.model_copy(update={"state": state, "task": None, "addresses": ()})


def unmade(last: VmSnapshot | None) -> VmSnapshot:
    """A VM whose server is gone while it is being made: the next one is it."""
    was = last or VmSnapshot(state=VmState.REQUESTED)
    left = {"state": VmState.REQUESTED, "server_id": None, "task": None, "addresses": ()}
    return was.model_copy(update={**left, "fault": None, "created_at": None, "updated_at": None})


def pictured(last: VmSnapshot | None, seen: VmSnapshot, *, creating: bool) -> VmSnapshot:
    """What a VM is whose server is seen so; of a deleted server what it was, since clouds forget."""
    if seen.state is not VmState.DELETED:
        return canonical(seen)
    return unmade(last) if creating else ended(last, seen.server_id, VmState.DELETED)


def choose(
    server_id: str | None, state: VmState, seen: Sequence[Seen], *, creating: bool
) -> tuple[Seen | None, list[Seen]]:
    """Of the servers that carry one VM's mark: the one that is the VM, and the surplus ones.

    The one that is known stays it as long as it lives. Another one, the oldest living, is it only
    while the VM has none: before the first, after one that is missing, and while it is being made
    (`creating`) after one that was deleted. A VM that is deleted stays so.
    """
    known = next((s for s in seen if server_id and s.snapshot.server_id == server_id), None)
    living = sorted((s for s in seen if s.snapshot.state is not VmState.DELETED), key=_age)
    if known is not None and known in living:
        chosen = known
    elif state is not VmState.DELETED and _has_none(server_id, state, known, creating=creating):
        chosen = living[0] if living else known
    else:
        chosen = known
    return chosen, [s for s in living if s is not chosen]


def _has_none(server_id: str | None, state: VmState, known: Seen | None, *, creating: bool) -> bool:
    return server_id is None or state is VmState.MISSING or (known is not None and creating)


def _age(seen: Seen) -> tuple[datetime, str]:
    return seen.snapshot.created_at or _LATEST, seen.snapshot.server_id or ""
