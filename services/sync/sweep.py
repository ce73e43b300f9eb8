"""Sweeps of one account: one list of what changed stands for a look at every VM.

Only the holder of the account's lease sweeps; its writes are guarded by the lease. The cloud is
asked outside of transactions, page by page, and what differs is written page by page (`taking`). A
sweep that fails part-way is repeated from the same clock, which changes nothing that was written.
"""

import asyncio
import logging
import random
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import update

from chassis.database import insert, is_outage
from chassis.errors import HostlerError, Retry
from chassis.leases import LeaseLostError
from services.sync import metrics, strangers, watches
from services.sync.giving_way import not_before, still
from services.sync.holding import guarded, while_held
from services.sync.looks import Looker
from services.sync.patience import Patience, Promptness
from services.sync.recognition import Memory
from services.sync.reporting import report
from services.sync.tables import ACCOUNTS, Account
from services.sync.taking import Answer, Kind
from services.sync.unseen import look_at_unseen
from services.sync.watching import Watching

LOG = logging.getLogger(__name__)
POLL_SECONDS = 0.5
"""How long a watch that another replica heard of may go unnoticed."""


class Sweeper:
    """Keeps one account's VMs known. Runs in every replica; the lease lets one work."""

    def __init__(self, watching: Watching, promptness: Promptness) -> None:
        self.watching = watching
        self.account = watching.account
        self.lease = watching.lease
        self.settings = watching.settings
        self.clock = watching.clock
        self.database = watching.database
        self.looker = Looker(watching)
        self.patience = Patience(promptness)
        self.memory = Memory()
        self.wake = asyncio.Event()
        """Set when something on the account has begun to be watched, or is worth a look."""
        self.leads = False
        """Whether this process held the lease when it last looked."""
        self._hinted = False

    def hint(self) -> None:
        """Sweep the changes at once: something is said to have happened."""
        self._hinted = True
        self.wake.set()

    async def run(self) -> None:
        """Sweep whenever it is time, for ever."""
        try:
            while True:
                self.wake.clear()
                self.leads = await self.lease.hold()
                pause = await self.pause() if self.leads else POLL_SECONDS
                if pause <= 0:
                    await while_held(self.lease, self.sweep_once())
                else:
                    await self._rest(pause)
        finally:
            self.leads = False
            await self.lease.release()

    async def sweep_once(self) -> bool:
        """One round now: what changed, looks that are due, all servers if that is due.

        Whether it was complete: not without the lease, and not if the cloud failed, which is
        noted, so that the next round waits.
        """
        if not await self.lease.hold():
            return False
        try:
            await self._round()
        except LeaseLostError:
            return False
        except Exception as error:
            if is_outage(error):
                raise
            await self._failed(error)
            return False
        return True

    async def pause(self) -> float:
        """Seconds until the next round is due; 0 or less: now."""
        async with self.database.reading() as session:
            account = await session.get(Account, self.account)
            hasty = self.patience.waiting or await watches.hasten(session, self.account)
        if account is None:
            return 0
        now = self.clock()
        due = now
        if account.swept_at is not None:
            metrics.LAG.labels(self.account).set((now - account.swept_at).total_seconds())
            due = self._due(account.swept_at, now, hasty=hasty)
        slow = timedelta(seconds=self.settings.sweep_interval_seconds)
        due = max(due, not_before(account, slow) or due)
        return min((due - now).total_seconds(), POLL_SECONDS)

    def _due(self, swept_at: datetime, now: datetime, *, hasty: bool) -> datetime:
        """After the interval, or when a change is waited with no longer; at once if hinted."""
        if self._hinted:
            return now
        fast, slow = self.settings.sweep_fast_seconds, self.settings.sweep_interval_seconds
        due = swept_at + timedelta(seconds=fast if hasty else slow)
        return min(due, self.patience.ends_at(now) or due)

    async def _rest(self, pause: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self.wake.wait()

    async def _round(self) -> None:
        began = self.clock()
        self._hinted = False
        async with guarded(self.lease) as session:
            new = {"account": self.account, "failures": 0, "error": ""}
            await session.execute(insert(session, ACCOUNTS).values(new).on_conflict_do_nothing())
            account = await session.get_one(Account, self.account)
        if account.since is None:
            return await self._first(began)
        self.patience.begin()
        at = await self._take(self._answer("changes"), account.since - self.settings.overlap)
        await self._complete(since=self.patience.reach(account.since, at), swept_at=began)
        await self._tell(at)
        if account.next_full_at is None or account.next_full_at <= began:
            await self._sweep_all(began)
        return None

    async def _tell(self, at: datetime) -> None:
        """Answer who waits: from the sweep, and by looks where that cannot answer."""
        await report(self.watching, at)
        await self.looker.look_due()

    async def _first(self, began: datetime) -> None:
        """List everything where there is no clock yet to list changes from."""
        at = await self._take(self._answer("first"), None)
        await self._complete(since=at, swept_at=began, next_full_at=self._next_full(began))
        await self._tell(at)

    async def _sweep_all(self, began: datetime) -> None:
        """List everything, also what did not change; what is missing is looked at next round.

        Not now, because the next sweep of changes may show that it was deleted. For the same
        reason the clock of changes stays where it is.
        """
        answer = self._answer("all")
        at = await self._take(answer, None)
        if answer.said is not None:
            await look_at_unseen(self.watching, answer.said.vms.keys() - answer.seen, at)
            unseen = answer.said.strangers.keys() - answer.seen
            await strangers.forget_unseen(self.watching, unseen)
        await self._complete(next_full_at=self._next_full(began))

    def _next_full(self, began: datetime) -> datetime:
        return began + timedelta(seconds=self.settings.sweep_full_seconds)

    def _answer(self, kind: Kind) -> Answer:
        return Answer(self.watching, self.patience, self.memory, kind)

    async def _take(self, answer: Answer, since: datetime | None) -> datetime:
        """Take one whole answer; the cloud's clock when it was begun."""
        with metrics.SWEEP_SECONDS.labels(self.account, answer.kind).time():
            at = await answer.take(since)
        metrics.SWEEPS.labels(self.account, answer.kind, "complete").inc()
        return at

    async def _complete(self, **values: object) -> None:
        values = {"failures": 0, "error": "", "retry_at": still(self.clock()), **values}
        async with guarded(self.lease) as session:
            mine = Account.account == self.account
            await session.execute(update(Account).where(mine).values(values))

    async def _failed(self, error: Exception) -> None:
        """Note that the cloud failed, and when to try again: when it says so, else ever later."""
        metrics.SWEEPS.labels(self.account, "any", "failed").inc()
        LOG.warning(
            "the sweep of %s failed: %s",
            self.account,
            error,
            exc_info=not isinstance(error, HostlerError),
        )
        async with guarded(self.lease) as session:
            account = await session.get_one(Account, self.account, with_for_update=True)
            account.failures += 1
            account.error = f"{error}"[:500] or type(error).__name__
            account.retry_at = self.clock() + self._backoff(error, account.failures)

    def _backoff(self, error: Exception, failures: int) -> timedelta:
        after = error.after if isinstance(error, Retry) else None
        longest = self.settings.backoff_max_seconds
        seconds = min(2.0 ** min(failures - 1, 16), longest) * random.uniform(0.75, 1.0)
        return after if after is not None else timedelta(seconds=seconds)
