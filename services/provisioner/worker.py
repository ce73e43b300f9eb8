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
from uuid import UUID

from chassis.database import Database, is_outage
from chassis.errors import Retry, Terminal
from chassis.leases import Clock
from chassis.telemetry import bound, spanning
from contracts.errors import MEANINGS, ErrorCode
from contracts.operation.states import OperationError
from drivers.base import Driver, Mark
from services.provisioner.actions import Order, Taken, clear, inquire, perform, undo
from services.provisioner.claims import Claim, Job, Room, claim, held, renew
from services.provisioner.deadlines import expire_overdue
from services.provisioner.measures import RUNNING
from services.provisioner.outcome import Bug, Outcome, Result, removes
from services.provisioner.settings import ProvisionerSettings

LOG = logging.getLogger(__name__)
OUTAGE_SECONDS = 0.5


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
        self.wake = asyncio.Event()
        self._held: dict[UUID, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._claiming: asyncio.Task[list[Claim]] | None = None

    async def run(self) -> None:
        """Work until cancelled; then wait a while for the calls under way."""
        try:
            while True:
                self.wake.clear()
                self._claiming = asyncio.create_task(self.claim())
                claims = await asyncio.shield(self._claiming)
                self._claiming = None
                for claimed in claims:
                    task = asyncio.create_task(self.work(claimed))
                    self._tasks.add(task)
                    task.add_done_callback(self._done)
                await self._rest()
        except asyncio.CancelledError:
            await self._drain()
            raise

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
                async with self.database.session() as session:
                    await renew(session, self._held, self.clock() + self.settings.lease_ttl)

    async def step(self) -> int:
        """Claim once and work on all of it to the end; how many operations it was."""
        claims = await self.claim()
        await asyncio.gather(*(self.work(each) for each in claims))
        return len(claims)

    async def claim(self) -> list[Claim]:
        """End what is overdue, then take what is due and there is room for."""
        settings = self.settings
        now = self.clock()
        async with self.database.session() as session:
            await expire_overdue(session, self.outcome, now)
        room = Room(
            settings.worker_concurrency - len(self._held),
            settings.account_concurrency,
            Counter(self._held.values()),
        )
        if room.total <= 0:
            return []
        async with self.database.session() as session:
            claims = await claim(session, room, now, now + settings.lease_ttl)
        self._held |= {each.token: each.operation.account for each in claims}
        RUNNING.set(len(self._held))
        return claims

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
        """Write the outcome down if the lease is still held; False: another one has it by now.

        While the database is out it tries on: what the cloud answered is worth more than a look.
        """
        while True:
            try:
                return await self._record(claimed, result)
            except Exception as error:
                if not is_outage(error):
                    raise
                LOG.warning("the database is out; the outcome waits: %s", error)
            await asyncio.sleep(OUTAGE_SECONDS)

    async def _record(self, claimed: Claim, result: Result) -> bool:
        async with self.database.session() as session:
            operation = await held(session, claimed)
            if operation is None:
                LOG.warning("the lease was lost; another worker goes on")
                return False
            await self.outcome.record(session, operation, claimed, result, self.clock())
        return True

    async def _call(self, claimed: Claim) -> Result:
        operation = claimed.operation
        driver = self.drivers(operation.account)
        order = Order(
            operation.asks,
            Mark(operation.vm_id, operation.project_id),
            operation.request_id,
            claimed.server_id,
            claimed.asked_before,
        )
        match claimed.job:
            case Job.PERFORM:
                return await perform(driver, order, self.clock)
            case Job.UNDO:
                return await undo(driver, order, remove=removes(operation))
            case Job.INQUIRE:
                called_at = operation.called_at or operation.created_at
                called = Taken(operation.server_id, called_at, operation.cloud_request_id)
                return await inquire(driver, order, called)
            case Job.CLEAR:
                kept = None if operation.compensating else operation.server_id
                return await clear(driver, replace(order, server_id=kept))

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
        self._tasks.discard(task)
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

    async def _give_back(self, claimed: Claim) -> None:
        """Leave it to another worker. If that fails, the lease runs out by itself."""
        with suppress(Exception):
            async with self.database.session() as session:
                operation = await held(session, claimed)
                if operation is not None:
                    self.outcome.give_back(operation, claimed, self.clock())
