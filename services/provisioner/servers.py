"""What sync last said of each VM's server: the newest version wins, in whichever order they come."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import and_, case
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import excluded, insert
from contracts.message import Body, Message
from contracts.vm.events import Changed, Observed
from contracts.vm.states import VmSnapshot
from services.provisioner.tables import Server

_SERVERS = Server.metadata.tables["servers"]
_HAD = _SERVERS.c
_TOLD = excluded("project_id", "account", "server_id", "state", "version", "observed_at", "task")
_SINCE = case(
    (
        and_(_HAD.state == _TOLD["state"], _HAD.task.is_not_distinct_from(_TOLD["task"])),
        _HAD.since,
    ),
    else_=excluded("since")["since"],
)
"""Since when it is so: a state and a task that were known already do not begin anew."""


@dataclass(frozen=True)
class Sight:
    """One message of sync's about a VM."""

    message: Message[Body]
    data: Changed | Observed

    @property
    def vm_id(self) -> UUID:
        """The VM."""
        return UUID(self.message.subject)

    @property
    def vm(self) -> VmSnapshot:
        """The VM as it was seen."""
        return self.data.vm

    @property
    def is_news(self) -> bool:
        """Whether the VM's state changed with it."""
        return isinstance(self.data, Changed) and "state" in self.data.new


async def keep(session: AsyncSession, seen: Sequence[Sight]) -> set[UUID]:
    """Write down the latest of each VM; those of which it was news.

    In one order, so that no two transactions wait in a ring.
    """
    latest: dict[UUID, Sight] = {}
    for sight in seen:
        known = latest.get(sight.vm_id)
        if known is None or sight.data.version > known.data.version:
            latest[sight.vm_id] = sight
    upsert = insert(session, _SERVERS).on_conflict_do_update(
        index_elements=["vm_id"],
        set_=_TOLD | {"since": _SINCE},
        where=_HAD.version < _TOLD["version"],
    )
    rows = [_row(latest[vm_id]) for vm_id in sorted(latest)]
    return set((await session.execute(upsert.returning(_HAD.vm_id), rows)).scalars())


def _row(sight: Sight) -> dict[str, object]:
    return {
        "vm_id": sight.vm_id,
        "project_id": sight.message.project_id,
        "account": sight.message.account,
        "server_id": sight.vm.server_id,
        "state": sight.vm.state,
        "version": sight.data.version,
        "observed_at": sight.data.observed_at,
        "task": sight.vm.task,
        "since": sight.data.observed_at,
    }
