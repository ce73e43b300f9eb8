"""Audit put together."""

import asyncio
import logging
from dataclasses import dataclass

from fastapi import FastAPI

from chassis.identity import Vouching
from chassis.leases import Clock
from chassis.service import Service, Work
from contracts.message import utc_now
from contracts.topics import CANARY, REPLAYS, TOPICS
from services.audit.checkpoints import sign_heads
from services.audit.handlers import keep
from services.audit.intents import LEASE_TTL as INTENTS_TTL
from services.audit.intents import Intents
from services.audit.reading import read
from services.audit.retention import Retention, owner_of, upkeep
from services.audit.routes import trail, verifications, vms
from services.audit.routes.door import Door
from services.audit.runs import LEASE_TTL, Runs
from services.audit.settings import AuditSettings
from services.audit.signing import Signer, open_signer

LOG = logging.getLogger(__name__)
NOT_KEPT = (CANARY, REPLAYS)
"""What only passes through: the chassis hears these; what a replay brings is heard again itself."""
SIGN_SECONDS = 5.0
PACE_SECONDS = 0.2
UPKEEP_SECONDS = 3600.0


@dataclass(frozen=True)
class Audit:
    """The service with its HTTP side."""

    service: Service
    app: FastAPI
    signer: Signer
    runs: Runs
    intents: Intents


def build(settings: AuditSettings | None = None, *, clock: Clock = utc_now) -> Audit:
    """Audit as the settings say."""
    settings = settings or AuditSettings()
    service = Service("audit", settings, clock=clock, pace=PACE_SECONDS)
    for topic in TOPICS:
        if service.name in topic.consumers and topic not in NOT_KEPT:
            service.consume_read(topic, read, keep(clock))
    signer = open_signer(settings.signing_key, settings.signing_key_file, settings.former_keys)
    lease = service.lease("verifications", LEASE_TTL)
    runs = Runs(service.database, signer, clock, lease, settings.verify_interval)
    intents = Intents(
        service.database,
        clock,
        service.lease("intents", INTENTS_TTL),
        settings.outcome_grace,
    )
    service.background("verifications", runs.work)
    service.background("intents", intents.watch)
    service.background("checkpoints", _signing(service, settings, signer))
    service.background("upkeep", _upkeep(service, settings, signer))
    return Audit(service, _app(service, settings, runs), signer, runs, intents)


def _app(service: Service, settings: AuditSettings, runs: Runs) -> FastAPI:
    door = Door(Vouching(settings.internal_secret), service.clock)
    app = service.app(
        title="Hostler audit",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.include_router(trail.router(service.database, door))
    app.include_router(verifications.router(runs, door, settings.verify_rows))
    app.include_router(vms.router(service.database, door))
    return app


def _signing(service: Service, settings: AuditSettings, signer: Signer) -> Work:
    async def sign_for_ever() -> None:
        rows, age = settings.checkpoint_rows, settings.checkpoint_interval
        while True:
            async with service.database.session() as session:
                await sign_heads(session, signer, service.clock(), rows, age)
            await asyncio.sleep(SIGN_SECONDS)

    return sign_for_ever


def _upkeep(service: Service, settings: AuditSettings, signer: Signer) -> Work:
    async def keep_up() -> None:
        owner = owner_of(settings)
        retention = settings.ledger_retention
        try:
            while True:
                if made := await upkeep(owner, service.clock):
                    LOG.info("partitions made: %s", ", ".join(made))
                if retention is not None:
                    gone = await Retention(owner, signer, service.clock, retention).run()
                    LOG.info("retention removed %s rows", gone)
                await asyncio.sleep(UPKEEP_SECONDS)
        finally:
            await owner.close()

    return keep_up
