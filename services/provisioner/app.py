"""Builds the provisioner: the only place that constructs."""

import asyncio
import random as randomness
from collections.abc import Callable
from functools import partial

from sqlalchemy import delete, func, select

from chassis.leases import Clock
from chassis.service import Service
from contracts.message import utc_now
from contracts.operation.states import FINAL, OperationState
from contracts.topics import CLOUD_INVENTORY, VM_COMMANDS, VM_EVENTS
from drivers import registry
from drivers.base import Driver
from services.provisioner import ledger
from services.provisioner.believing import Believing
from services.provisioner.clouds import Clouds
from services.provisioner.handlers import Handlers, read_sights
from services.provisioner.line import move_up
from services.provisioner.measures import OPEN
from services.provisioner.orphans import Orphans
from services.provisioner.outcome import Outcome
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.standstill import Standstill
from services.provisioner.tables import Operation
from services.provisioner.worker import Worker

MEASURE_SECONDS = 10.0
MOVE_UP_SECONDS = 5.0


class Provisioner(Service):
    """The service, with the worker at hand."""

    def __init__(
        self, settings: ProvisionerSettings, clock: Clock, clouds: Clouds, outcome: Outcome
    ) -> None:
        super().__init__("provisioner", settings, clock=clock)
        self.clock = clock = self.shared_clock
        self.clouds = clouds
        self.worker = Worker(self.database, clouds, outcome, settings, clock)
        self.check("sealing", self._sealing, required=False)
        self.retention = settings.operation_retention
        handlers = Handlers(settings, self.worker.wake, clock)
        believing = Believing(settings, clock)
        self.consume_read(
            VM_COMMANDS,
            believing.read,
            handlers.on_vm_commands,
            apart=True,
            on_bury=believing.on_bury,
        )
        self.consume_read(VM_EVENTS, read_sights, handlers.on_vm_events)
        self.background("worker", self._work)
        self.background("leases", self.worker.renew_leases)
        self.background("deadlines", self.worker.watch_deadlines)
        self.background("line", self._move_up)
        self.orphans = Orphans(self.database, clouds, settings, clock, outcome.random)
        self.consume_many(CLOUD_INVENTORY, self.orphans.on_inventory)
        self.background("orphans", self.orphans.run)
        self.standstill = Standstill(self.worker.rests, settings.call_timeout, clock)
        self.background("measure", self._measure)
        self.check("accounts", self.standstill.probe)
        self.check("clouds", clouds.status, required=False)

    async def _sealing(self) -> str:
        """The ids of the keys that open what is sealed."""
        return ", ".join(each.id for each in self.worker.keys.public) or "no key is set"

    async def _work(self) -> None:
        try:
            await self.worker.run()
        except asyncio.CancelledError:
            await self.clouds.close()
            raise

    async def _move_up(self) -> None:
        while True:
            await asyncio.sleep(MOVE_UP_SECONDS)
            async with self.database.session() as session:
                await move_up(session, self.clock())

    async def _measure(self) -> None:
        """Count what is open, and drop what ended long ago."""
        while True:
            open_ = select(Operation.state, func.count()).where(Operation.ended_at.is_(None))
            old = self.clock() - self.retention
            async with self.database.reading() as session:
                await self.standstill.measure(session)
            async with self.database.session() as session:
                await session.execute(delete(Operation).where(Operation.ended_at < old))
                await ledger.forget(session, old)
                rows = (await session.execute(open_.group_by(Operation.state))).tuples().all()
            counts = dict(rows)
            for state in set(OperationState) - FINAL:
                OPEN.labels(state).set(counts.get(state, 0))
            await asyncio.sleep(MEASURE_SECONDS)


def build(
    settings: ProvisionerSettings | None = None,
    *,
    clock: Clock = utc_now,
    drivers: Callable[[str], Driver] | None = None,
    random: Callable[[], float] = randomness.random,
) -> Provisioner:
    """The provisioner, not yet started."""
    settings = settings or ProvisionerSettings()
    registry.require(settings.driver)
    make = drivers or partial(registry.driver, settings.driver)
    return Provisioner(settings, clock, Clouds(make), Outcome(settings, random))
