"""Accounts in which something is due and nobody takes it: a lane that stands, past which canaries go.

Every replica sees the same: any of them could have taken it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Row, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.leases import Clock
from services.provisioner import lanes
from services.provisioner.line import IS_BEHIND
from services.provisioner.tables import Operation

GRACE = timedelta(seconds=60)
"""Beyond an attempt's longest time: an account whose room is full takes nothing until one ends."""


@dataclass(frozen=True)
class _Front:
    """What is due first in an account, and since when it is seen so."""

    seq: int
    due_at: datetime | None
    since: datetime


class Standstill:
    """What is due first in each account, looked at now and then; `rests`: nobody may ask its cloud."""

    def __init__(
        self, rests: Callable[[str, datetime], bool], longest: timedelta, clock: Clock
    ) -> None:
        self.clock = clock
        self.patience = longest + GRACE
        self._rests = rests
        self._fronts: dict[str, _Front] = {}

    async def measure(self, session: AsyncSession) -> None:
        """Look again: an account in which another operation is first has moved."""
        now, before = self.clock(), self._fronts
        found: dict[str, _Front] = {}
        for account in await lanes.with_work(session, now):
            first = (await session.execute(_FIRST, {"account": account, "now": now})).first()
            if first is not None and not self._rests(account, now):
                found[account] = _seen(first, before.get(account), now)
        self._fronts = found

    async def probe(self) -> str:
        """The accounts in which something is due; RuntimeError names those that stand."""
        now = self.clock()
        stands = [
            f"vm.commands → {account}: operation {front.seq} is due, none was taken for "
            f"{(now - front.since).total_seconds():.0f} s"
            for account, front in sorted(self._fronts.items())
            if now - front.since > self.patience
        ]
        if stands:
            raise RuntimeError("; ".join(stands))
        return f"due: {', '.join(sorted(self._fronts))}" if self._fronts else "nothing is due"


def _seen(first: Row[int, datetime | None], before: _Front | None, now: datetime) -> _Front:
    seq, due_at = first.tuple()
    is_same = before is not None and (before.seq, before.due_at) == (seq, due_at)
    return before if before is not None and is_same else _Front(seq, due_at, now)


_FIRST = (
    select(Operation.seq, Operation.due_at)
    .where(
        Operation.account == bindparam("account"),
        Operation.due_at <= bindparam("now"),
        ~IS_BEHIND,
    )
    .order_by(Operation.due_at, Operation.seq)
    .limit(1)
)
