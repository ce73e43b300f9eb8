"""What a full list did not show: no evidence, but a reason to look at each such server alone."""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.vm.states import PRESENT
from services.sync.holding import guarded
from services.sync.portions import portions
from services.sync.tables import Vm
from services.sync.watching import Watching

LOG = logging.getLogger(__name__)
_PAGE = 2000


async def look_at_unseen(watching: Watching, seen: Collection[str], at: datetime) -> None:
    """Have every VM looked at whose server was not in the complete list begun at `at`."""
    account = watching.account
    async with watching.database.reading() as session:
        unseen = await _unseen(session, account, seen, at)
    if unseen:
        LOG.warning("%d servers of %s are not listed; looking at each", len(unseen), account)
    for vm_ids in portions(unseen):
        async with guarded(watching.lease) as session:
            known = Vm.vm_id.in_(vm_ids), Vm.look_due_at.is_(None)
            await session.execute(update(Vm).where(*known).values(look_due_at=watching.clock()))


async def _unseen(
    session: AsyncSession, account: str, seen: Collection[str], at: datetime
) -> Sequence[UUID]:
    """Of what is known as present since before `at`. Reads by pages: a list of ids at a time."""
    there = (
        Vm.account == account,
        Vm.state.in_([state.value for state in PRESENT]),
        Vm.server_id.is_not(None),
        Vm.version > 0,
        Vm.observed_at < at,
    )
    asked = select(Vm.vm_id, Vm.server_id).where(*there).order_by(Vm.vm_id).limit(_PAGE)
    unseen: list[UUID] = []
    page = (await session.execute(asked)).all()
    while page:
        unseen += [vm_id for vm_id, server_id in page if server_id not in seen]
        page = (await session.execute(asked.where(Vm.vm_id > page[-1].vm_id))).all()
    return unseen
