"""Audit put together."""

from dataclasses import dataclass

from fastapi import FastAPI

from chassis.identity import Vouching
from chassis.leases import Clock
from chassis.service import Service
from contracts.message import utc_now
from contracts.topics import TOPICS
from services.audit.handlers import keep
from services.audit.routes import Door, router
from services.audit.settings import AuditSettings


@dataclass(frozen=True)
class Audit:
    """The service with its HTTP side."""

    service: Service
    app: FastAPI


def build(settings: AuditSettings | None = None, *, clock: Clock = utc_now) -> Audit:
    """Audit as the settings say."""
    settings = settings or AuditSettings()
    service = Service("audit", settings, clock=clock)
    for topic in TOPICS:
        if service.name in topic.consumers:
            service.consume_many(topic, keep(clock))
    door = Door(Vouching(settings.internal_secret), clock)
    app = service.app(
        title="Hostler audit",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.include_router(router(service.database, door))
    return Audit(service, app)
