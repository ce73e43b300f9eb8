"""The worker: claims due operations, has the clouds take them, records what came of it.

Killed at any point it loses nothing: its leases run out, and who takes over looks before it asks.
No transaction is open while a cloud is called.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database import Database
from chassis.errors import Retry, Terminal
from chassis.leases import Clock
from chassis.rounds import Rounds
from chassis.telemetry import bound, spanning
from contracts.errors import MEANINGS, ErrorCode
from contracts.operation.states import OperationError
from drivers.base import Driver, Mark, Rests
from services.provisioner.actions import Order, Taken, perform
from services.provisioner.claims import Claim, Job, claim, held, renew
from services.provisioner.deadlines import expire
from services.provisioner.inquiries import inquire
from services.provisioner.measures import RUNNING
from services.provisioner.opening import opened, private_keys
from services.provisioner.outcome import Bug, Outcome, Result
from services.provisioner.recorder import Recorder
from services.provisioner.removals import clean, clear, undo
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.undoing import removes

LOG = logging.getLogger(__name__)


class Worker:
    """Works on operations, many at a time. `wake` is set when there may be something to do."""

    def __init__(
        self,
        database: Database,
        drivers: Callable[[str], Driver],
        outcome: Outcome,
        settings: ProvisionerSettings,
        clock: Clock,
    ) -> None:
        self.database = database
        self.drivers = drivers
        self.outcome = outcome
        self.settings = settings
        self.clock = clock
        self.keys = private_keys(settings)
        self.wake = asyncio.Event()
        self.recorder = Recorder(database, outcome, clock, self.wake)
        self._rounds = Rounds()
        self._held: dict[UUID, Claim] = {}
        self._was_full = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._claiming: asyncio.Task[list[Claim]] | None = None

    async def run(self) -> None:
        """Work until cancelled; then wait a while for the calls under way."""
        try:
            while True:
                self.wake.clear()
                async with self._rounds:
                    await self._round()
                await self._rest()
        except asyncio.CancelledError:
            await self._drain()
            raise

    async def _round(self) -> None:
        self._claiming = asyncio.create_task(self._claim())
        claims = await asyncio.shield(self._claiming)
        self._claiming = None
        for claimed in claims:
            task = asyncio.create_task(self.work(claimed))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def _rest(self) -> None:
        """Not `wait_for`, which in Python 3.11 loses a cancel that comes with the wake-up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.poll.total_seconds()):
                await self.wake.wait()

    async def renew_leases(self) -> None:
        """Keep the leases of what is under way, until cancelled."""
        while True:
            await asyncio.sleep(self.settings.lease_ttl.total_seconds() / 3)
            if self._held:
                until = self.clock() + self.settings.lease_ttl
                async with self.database.session() as session:
                    await renew(session, list(self._held.values()), until)

    async def step(self) -> int:
        """Claim once and work on all of it to the end; how many operations it was."""
        claims = await self.claim()
        await asyncio.gather(*(self.work(each) for each in claims))
        return len(claims)

    async def claim(self) -> list[Claim]:
        """End what is overdue, then take what is due in the accounts that have room and work."""
        await self._expire()
        return await self._claim()

    async def watch_deadlines(self) -> None:
        """End what is overdue, until cancelled: beside `run`, whose way to the cloud is short so."""
        while True:
            await self._expire()
            await asyncio.sleep(self.settings.poll.total_seconds())

    async def _claim(self) -> list[Claim]:
        now = self.clock()
        running = Counter(each.operation.account for each in self._held.values())

        def room_in(account: str) -> int:
            room = self.settings.account_concurrency - running[account]
            return room if room > 0 and not self.rests(account, now) else 0

        async with self.database.session() as session:
            claims = await claim(session, room_in, now, now + self.settings.lease_ttl)
        self._held |= {each.token: each for each in claims}
        running.update(each.operation.account for each in claims)
        self._was_full = max(running.values(), default=0) >= self.settings.account_concurrency
        RUNNING.set(len(self._held))
        return claims

    async def _expire(self) -> None:
        if await expire(self.database, self.clock(), self.settings):
            self.wake.set()

    def rests(self, account: str, now: datetime) -> bool:
        """Whether calls would fail at once; an account that has no driver is told by an attempt."""
        try:
            driver = self.drivers(account)
        except Exception:  # noqa: BLE001 - the attempt says what is wrong
            return False
        until = driver.rests_until() if isinstance(driver, Rests) else None
        return until is not None and until > now

    async def work(self, claimed: Claim) -> None:
        """One attempt, from the call to its record."""
        operation = claimed.operation
        try:
            with self._seen(claimed):
                result = await self.attempt(claimed)
                came_to = result if isinstance(result, Exception) else type(result).__name__
                LOG.info("attempt %s: %s", operation.attempts, came_to)
                await self.record(claimed, result)
        except asyncio.CancelledError:
            await self._give_back(claimed)
            raise
        except Exception:
            LOG.exception("the outcome of %s was not recorded; its lease runs out", operation.id)
        finally:
            self.forget(claimed)

    async def attempt(self, claimed: Claim) -> Result:
        """Call the cloud. Whatever happens is a result."""
        operation = claimed.operation
        try:
            async with asyncio.timeout(self.settings.call_timeout.total_seconds()):
                return await self._call(claimed)
        except (Retry, Terminal) as error:
            return error
        except TimeoutError:
            return Retry(ErrorCode.CLOUD_UNAVAILABLE, "No answer in time.", uncertain=True)
        except Exception as error:
            LOG.exception("a bug in carrying out %s", operation.command)
            sentence = f"{MEANINGS[ErrorCode.INTERNAL].sentence} ({type(error).__name__})"
            return Bug(OperationError(code=ErrorCode.INTERNAL, detail=sentence))

    async def record(self, claimed: Claim, result: Result) -> bool:
        """Write the outcome down if the lease is still held; False: another one has it by now."""
        recorded = await self.recorder.record(claimed, result)
        if not recorded:
            LOG.warning("the lease was lost; another worker goes on")
        return recorded

    async def _call(self, claimed: Claim) -> Result:
        operation = claimed.operation
        driver = self.drivers(operation.account)
        order = Order(
            operation.asks,
            Mark(operation.vm_id, operation.project_id),
            operation.request_id,
            claimed.server_id,
            claimed.asked_before,
            timedelta() if operation.anew else self.settings.build_timeout,
            anew=operation.anew,
            withdrawn=operation.cancel_requested and operation.creates is None,
        )
        match claimed.job:
            case Job.PERFORM:
                wanted = opened(order.command, self.keys, operation.vm_id, operation.id)
                return await perform(driver, replace(order, command=wanted), self.clock)
            case Job.UNDO:
                return await undo(driver, order, remove=removes(operation))
            case Job.INQUIRE:
                called_at = operation.called_at or operation.created_at
                called = Taken(operation.server_id, called_at, operation.cloud_request_id)
                return await inquire(driver, order, called)
            case Job.CLEAN:
                return await clean(driver, order)
            case Job.CLEAR:
                return await clear(driver, replace(order, server_id=claimed.kept))

    @contextmanager
    def _seen(self, claimed: Claim) -> Generator[None]:
        """The log ids and the span of one attempt, within the trace of the request."""
        operation = claimed.operation
        name = f"provisioner {claimed.job.name.lower()} {operation.command}"
        with (
            bound(**operation.ids),
            spanning(name, operation.traceparent, attempt=str(operation.attempts)),
        ):
            yield

    def forget(self, claimed: Claim) -> None:
        """Renew its lease no longer."""
        self._held.pop(claimed.token, None)
        RUNNING.set(len(self._held))

    def _done(self, task: asyncio.Task[None]) -> None:
        """There is room again: worth a look where there was none."""
        self._tasks.discard(task)
        if self._was_full:
            self.wake.set()

    async def _drain(self) -> None:
        if self._claiming is not None:
            with suppress(Exception):
                for claimed in await self._claiming:
                    await self._give_back(claimed)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.settings.worker_drain.total_seconds())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.recorder.close()

    async def _give_back(self, claimed: Claim) -> None:
        """Leave it to another worker. If that fails, the lease runs out by itself."""
        with suppress(Exception):
            async with self.database.session() as session:
                for operation in (await held(session, [claimed])).values():
                    self.outcome.give_back(operation, claimed, self.clock())
