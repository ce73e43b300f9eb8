"""How two pictures of a VM differ, and which server stands for it: pure functions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from contracts.vm.states import GONE, VmSnapshot, VmState
from drivers.base import Seen

Fields = dict[str, Any]
SILENT = frozenset({"updated_at"})
"""What is kept, but is no event by itself: it moves with every other change, or alone for none."""
_LATEST = datetime.max.replace(tzinfo=UTC)


def canonical(snapshot: VmSnapshot) -> VmSnapshot:
    """The same VM with its lists in one order, so that a cloud that shuffles them changes nothing."""
    order = sorted(snapshot.addresses, key=lambda a: (a.network, a.version, a.kind, a.address))
    lists = {
        "addresses": tuple(order),
        "tags": tuple(sorted(snapshot.tags)),
        "security_groups": tuple(sorted(snapshot.security_groups)),
    }
    return snapshot.model_copy(update=lists)


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


def choose(
    server_id: str | None, state: VmState, seen: Sequence[Seen]
) -> tuple[Seen | None, list[Seen]]:
    """Of the servers that carry one VM's mark: the one that is the VM, and the surplus ones.

    The one that is known stays it as long as it lives; else the oldest living one. A deleted one
    only counts if it is the known one.
    """
    known = next((s for s in seen if server_id and s.snapshot.server_id == server_id), None)
    living = sorted((s for s in seen if s.snapshot.state is not VmState.DELETED), key=_age)
    if known is not None and (known in living or not living):
        chosen = known
    elif known is not None or server_id is None or state in GONE:
        chosen = living[0] if living else None
    else:
        chosen = None
    return chosen, [s for s in living if s is not chosen]


def _age(seen: Seen) -> tuple[datetime, str]:
    return seen.snapshot.created_at or _LATEST, seen.snapshot.server_id or ""
