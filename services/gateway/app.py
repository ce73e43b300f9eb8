"""The gateway put together."""

import asyncio
import logging
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute

from chassis.identity import Vouching
from chassis.kafka import connection
from chassis.lag import group_lag
from chassis.leases import Clock
from chassis.seals import Signer, seed_of
from chassis.service import Service
from contracts.message import utc_now
from contracts.topics import CANARY, CLOUD_CATALOG, CLOUD_INVENTORY, DEAD_LETTERS, VM_EVENTS
from services.gateway import documents
from services.gateway.bell import Bell
from services.gateway.canaries import Canaries
from services.gateway.context import Gateway
from services.gateway.dead_letters import DeadLetters
from services.gateway.desk import Desk
from services.gateway.drift import Drift
from services.gateway.followers import Tail
from services.gateway.forwarding import Audit
from services.gateway.handlers import Handlers
from services.gateway.http import Door
from services.gateway.identity.addresses import Addresses, AllowList
from services.gateway.identity.keys import FirstKeys, Keys, derive_pepper
from services.gateway.identity.mail import Mailer
from services.gateway.identity.parts import put_together, upkeep
from services.gateway.identity.permission import PERMISSIONS
from services.gateway.identity.sealing import derive
from services.gateway.identity.signatures import Signatures
from services.gateway.imports import ImportServers
from services.gateway.intake import Intake
from services.gateway.inventory import on_inventory
from services.gateway.likeness import Digests
from services.gateway.limits.limiter import Limiter
from services.gateway.limits.policies import policies
from services.gateway.limits.slots import Held, Slots
from services.gateway.limits.store import Store
from services.gateway.locks import exclusively
from services.gateway.pages import Markers
from services.gateway.policy.isolation import Isolation
from services.gateway.policy.keeping import Policy
from services.gateway.policy.projects import Projects
from services.gateway.reference_page import add_reference
from services.gateway.references import References
from services.gateway.routes import (
    actions,
    audit,
    auth,
    catalog,
    dead_letters,
    drift,
    events,
    factors,
    grants,
    history,
    imports,
    inventory,
    keys,
    me,
    meta,
    oidc,
    operations,
    own_sessions,
    projects,
    second_factor,
    service_accounts,
    signing_keys,
    users,
    vms,
)
from services.gateway.sealing import sealer
from services.gateway.settings import GatewaySettings
from services.gateway.tidy import Tidy
from services.gateway.waiting import Endings
from services.gateway.witness import Witness

LOG = logging.getLogger(__name__)
ROUTERS = (
    vms.ROUTER,
    actions.ROUTER,
    operations.ROUTER,
    drift.ROUTER,
    grants.ROUTER,
    projects.ROUTER,
    inventory.ROUTER,
    imports.ROUTER,
    catalog.ROUTER,
    events.ROUTER,
    audit.ROUTER,
    history.ROUTER,
    dead_letters.ROUTER,
    keys.ROUTER,
    signing_keys.ROUTER,
    users.ROUTER,
    me.ROUTER,
    me.PERMITTED,
    factors.ROUTER,
    factors.RESET,
    own_sessions.ROUTER,
    auth.ROUTER,
    auth.KNOWN,
    auth.PUBLIC,
    oidc.ROUTER,
    oidc.BACK,
    service_accounts.ROUTER,
    service_accounts.TOKENS,
    second_factor.ROUTER,
    second_factor.KNOWN,
    meta.ROUTER,
    meta.OPEN,
)
BODIES = (
    signing_keys.RegisterSigningKey,
    *keys.BODIES,
    *users.BODIES,
    *me.BODIES,
    *auth.BODIES,
    *factors.BODIES,
    *oidc.BODIES,
    *service_accounts.BODIES,
    *second_factor.BODIES,
    dead_letters.ReplayLetters,
    drift.DriftChoices,
    grants.GiveGrant,
    projects.ChangeProject,
    drift.DriftSettlement,
    ImportServers,
)
DESCRIPTION = """Virtual machines on OpenStack, by command and event.

A command is answered with `202` and an operation; `Prefer: wait=20` waits for its end. Send an
`Idempotency-Key` and a request is safe to send again. Errors are problem+json (RFC 9457)."""


def build(
    settings: GatewaySettings | None = None,
    *,
    clock: Clock = utc_now,
    audit_transport: httpx.AsyncBaseTransport | None = None,
    show: Callable[[str], None] | None = None,
    mailer: Mailer | None = None,
) -> Gateway:
    """A gateway as the settings say. `show` is told the first keys, and mails; by default on stderr."""
    settings = settings or GatewaySettings()
    service = Service("gateway", settings, clock=clock)
    bell = Bell()
    secret = settings.internal_secret.get_secret_value()
    given = settings.key_pepper.get_secret_value() if settings.key_pepper else None
    pepper = derive_pepper(given, secret)
    made_keys = Keys(service.database, pepper, clock, settings.key_cache)
    first = settings.first_api_key.get_secret_value() if settings.first_api_key else None
    references = References(clock)
    signer = _signer(settings, secret)
    intake = Intake(
        settings.projects,
        service.shared_clock,
        settings.idempotency_retention,
        references,
        sealer=sealer(settings.sealing_public_key, secret),
        digests=Digests(derive(secret, "idempotency")),
        sign=signer.seal,
    )
    limiter = _limiter(service, settings)
    gateway = Gateway(
        settings=settings,
        service=service,
        app=_app(service, settings, limiter),
        keys=made_keys,
        first_keys=FirstKeys(made_keys, list(settings.projects), first, show or _to_stderr),
        identity=put_together(
            service,
            settings,
            settings.key_cache,
            show or _to_stderr,
            mailer,
            projects=settings.projects,
        ),
        intake=intake,
        desk=Desk(intake, service.database),
        markers=Markers(pepper),
        tail=Tail(service.database, bell, service.stopping),
        endings=Endings(service.database, bell, service.stopping),
        vouching=Vouching(settings.internal_secret),
        audit=Audit(settings.audit_url, settings.audit_timeout, audit_transport),
        dead_letters=DeadLetters(
            service.database, clock, list(settings.projects), settings.dead_letters_retention
        ),
        limiter=limiter,
        slots=Slots({Held.WAIT: settings.max_waits, Held.STREAM: settings.max_streams}),
        allow_list=AllowList(settings.allowed_addresses),
        signatures=Signatures(
            service.database,
            clock,
            pepper,
            settings.signed_permissions,
            settings.signature_max_age,
        ),
        policy=Policy(settings.policy_file, PERMISSIONS),
        projects=Projects(service.database, clock, settings.key_cache),
    )
    gateway.app.state.gateway = gateway
    noticed = Drift(intake, settings.drift, settings.drift_corrections)
    _listen(gateway, Handlers(clock, bell, references, noticed))
    _watch(gateway)
    _know(gateway)
    _rule(gateway)
    return gateway


def _listen(gateway: Gateway, handlers: Handlers) -> None:
    service, settings = gateway.service, gateway.settings
    ready = asyncio.Event()

    async def ensure_first_keys() -> None:
        await gateway.first_keys.ensure(exclusively)
        async with gateway.database.session() as session:
            await gateway.identity.ensure_first_admin(session)
        ready.set()
        await asyncio.Event().wait()

    async def keys_probe() -> str:
        if not ready.is_set():
            raise RuntimeError("the first key is not made yet")
        return "there are keys"

    tidy = Tidy(
        service.database,
        service.shared_clock,
        settings.events_retention,
        settings.idempotency_retention,
    )
    service.consume_many(VM_EVENTS, handlers.on_vm_events)
    service.consume(CLOUD_CATALOG, handlers.on_catalog)
    service.consume(CLOUD_INVENTORY, on_inventory)
    service.background("first-keys", ensure_first_keys)
    service.background("tail", gateway.tail.watch)
    service.background("endings", gateway.endings.watch)
    service.background("forgetting", tidy.run)
    service.check("keys", keys_probe)
    # Without Kafka commands are still accepted (outbox), without audit only its trail is missing.
    service.check("kafka", service.probe_kafka, required=False)
    service.check("audit", gateway.audit.ping, required=False)


def _watch(gateway: Gateway) -> None:
    """Hear of what failed, and see that what is said arrives."""
    service, settings, letters = gateway.service, gateway.settings, gateway.dead_letters
    canaries = Canaries(
        service.database,
        service.shared_clock,
        settings.canary_every,
        settings.canary_patience,
        probe_kafka=service.probe_kafka,
        group_lag=partial(group_lag, connection(settings)),
    )
    service.consume(DEAD_LETTERS, letters.on_letter)
    service.consume_many(CANARY, canaries.on_canary)
    service.background("canaries", canaries.run)
    service.background("dead-letters", letters.run)
    service.check("canary", canaries.probe, required=False)


def _know(gateway: Gateway) -> None:
    """See that keys are changed, mails are sent and what is over is forgotten."""
    service, identity = gateway.service, gateway.identity
    service.background("token-keys", identity.keyring.keep)
    service.background("post", identity.post.run)
    service.background("identity", partial(upkeep, identity, gateway.keys))


def _signer(settings: GatewaySettings, secret: str) -> Signer:
    """What commands are signed with; whoever carries them out is given the public key."""
    given = settings.command_key
    signer = Signer(
        seed_of(given.get_secret_value()) if given else derive(secret, "command signature")
    )
    LOG.info("commands are signed; HOSTLER_COMMAND_KEYS of others: %s", signer.public_key)
    return signer


def _rule(gateway: Gateway) -> None:
    """See that the policy is the file's, and tell whether the database keeps projects apart."""
    service, isolation = gateway.service, Isolation(gateway.database)

    async def warn_once() -> None:
        await isolation.warn()
        await asyncio.Event().wait()

    service.background("policy", gateway.policy.watch)
    service.background("isolation", warn_once)
    service.check("policy", gateway.policy.probe, required=False)
    service.check("isolation", isolation.probe, required=False)


def _limiter(service: Service, settings: GatewaySettings) -> Limiter:
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    store = Store(url, service.clock)
    service.background("rates", store.keep)
    service.check("rates", store.probe, required=False)
    return Limiter(policies(settings.rate_limits), store)


def _app(service: Service, settings: GatewaySettings, limiter: Limiter) -> FastAPI:
    app = service.app(
        title="Hostler",
        version=_version(),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in ROUTERS:
        app.include_router(router)
    if settings.docs_page:
        add_reference(app)
    routes = [each for router in ROUTERS for each in router.routes if isinstance(each, APIRoute)]
    addresses = Addresses(settings.trusted_proxies, settings.forwarded_header)
    witness = Witness(service.database, service.clock)
    service.background("witness", witness.run)
    app.add_middleware(
        Door,
        routes=routes,
        settings=settings,
        limiter=limiter,
        addresses=addresses,
        witness=witness,
    )
    app.openapi = lambda: documents.openapi(app, *BODIES)
    return app


def _version() -> str:
    try:
        return version("hostler")
    except PackageNotFoundError:
        return "0.1.0"


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - a secret has no place in the logs
