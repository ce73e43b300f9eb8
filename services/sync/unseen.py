"""What a full list did not show: no evidence, but a reason to look at each such server alone."""

import logging
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import update

from chassis.among import among
from chassis.database import changed
from contracts.vm.states import PRESENT
from services.sync.holding import guarded
from services.sync.portions import portions
from services.sync.tables import VMS
from services.sync.watching import Watching

LOG = logging.getLogger(__name__)


async def look_at_unseen(watching: Watching, unseen: Collection[str], at: datetime) -> None:
    """Have each of these servers' VMs looked at which is known as present since before `at`.

    `unseen` are the known servers that were not in the complete list begun at `at`.
    """
    count = 0
    for server_ids in portions(sorted(unseen)):
        there = (
            VMS.c.account == watching.account,
            among(VMS.c.server_id, server_ids),
            VMS.c.state.in_([state.value for state in PRESENT]),
            VMS.c.version > 0,
            VMS.c.observed_at < at,
            VMS.c.look_due_at.is_(None),
        )
        async with guarded(watching.lease) as session:
            due = update(VMS).where(*there).values(look_due_at=watching.clock())
            count += await changed(session, due)
    if count:
        LOG.warning("%d servers of %s are not listed; looking at each", count, watching.account)
