"""What sync says about a VM, and on whose account."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from chassis.ids import new_id
from chassis.leases import Clock
from chassis.telemetry import bound, current_traceparent, spanning
from contracts.message import Body, Message
from contracts.vm.events import Changed, Observed, State
from contracts.vm.states import VmSnapshot, VmState
from services.sync import metrics
from services.sync.drift import Fields, differences, digest, is_idle
from services.sync.tables import Vm, Watch

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cause:
    """Why a VM is reported on: an operation under way, or nothing that Hostler knows of."""

    actor: str = "cloud"
    operation_id: UUID | None = None
    request_id: str = ""
    traceparent: str = ""

    @property
    def origin(self) -> Literal["hostler", "external"]:
        """Who may have made a change that is seen now."""
        return "hostler" if self.operation_id else "external"

    @classmethod
    def of(cls, watch: Watch | None) -> "Cause":
        """The operation that a VM is watched for, if any."""
        if watch is None:
            return cls()
        return cls(watch.actor, watch.operation_id, watch.request_id, watch.traceparent)


def known(row: Vm) -> VmSnapshot | None:
    """What was last said of a VM; None if nothing was."""
    return VmSnapshot.model_validate(row.snapshot) if row.snapshot else None


def show(row: Vm, snapshot: VmSnapshot) -> None:
    """Make the row what a picture shows."""
    row.server_id, row.state = snapshot.server_id, snapshot.state.value
    row.snapshot = snapshot.model_dump(mode="json")
    row.digest, row.idle = digest(snapshot), is_idle(snapshot)


def change(
    row: Vm, snapshot: VmSnapshot, at: datetime, cause: Cause, clock: Clock
) -> list[Message[Body]]:
    """Make the row what was seen at the cloud's time `at`; what there is to say about it."""
    old, new = differences(known(row), snapshot)
    show(row, snapshot)
    row.observed_at, row.look_due_at = at, None
    if not new:
        return []
    row.version += 1
    return changed(row, old, new, cause, clock)


def changed(row: Vm, old: Fields, new: Fields, cause: Cause, clock: Clock) -> list[Message[Body]]:
    """`vm.changed.v1` and `vm.state.v1` of the row as it stands."""
    vm, at = known(row) or VmSnapshot(state=VmState(row.state)), row.observed_at or clock()
    metrics.CHANGES.labels(row.account, cause.origin).inc()
    with bound(vm_id=row.vm_id, operation_id=cause.operation_id, request_id=cause.request_id):
        LOG.info("%s is %s; changed: %s", row.vm_id, row.state, ", ".join(new))
    event = Changed(
        origin=cause.origin, old=old, new=new, version=row.version, observed_at=at, vm=vm
    )
    state = State(version=row.version, observed_at=at, vm=vm)
    return [_message(row, event, cause, clock), _message(row, state, cause, clock)]


def observed(row: Vm, watch: Watch, at: datetime, clock: Clock) -> list[Message[Body]]:
    """`vm.observed.v1` for one watch; none of a VM that was never seen, or twice for one time."""
    vm = known(row)
    if vm is None or (watch.observed_at is not None and at <= watch.observed_at):
        return []
    watch.observed_at = at
    event = Observed(version=row.version, observed_at=at, vm=vm)
    return [_message(row, event, Cause.of(watch), clock)]


def _message(row: Vm, body: Body, cause: Cause, clock: Clock) -> Message[Body]:
    with spanning(f"sync says {body.wire_name()}", cause.traceparent):
        return Message[Body](
            id=new_id(),
            source="hostler/sync",
            time=clock(),
            subject=str(row.vm_id),
            project_id=row.project_id,
            account=row.account,
            actor=cause.actor,
            operation_id=cause.operation_id,
            request_id=cause.request_id,
            traceparent=current_traceparent() or cause.traceparent,
            data=body,
        )
