"""A service as a process: database, Kafka, background work and HTTP, started and drained together.

It starts although Kafka is gone (it connects as soon as it can), and drains on SIGTERM: `stopping`
is set, requests under way are answered, background work gives its leases back, consumers leave.
"""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from socket import socket
from types import FrameType
from typing import Any

import uvicorn
from aiokafka.errors import KafkaError
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from chassis import problems, telemetry
from chassis.canary import answer
from chassis.clock import SharedClock
from chassis.consumer import (
    BatchHandler,
    Consumer,
    Handler,
    OnBury,
    Reader,
    ReadHandler,
    Replayer,
    ToldT,
)
from chassis.database import Database, is_outage
from chassis.dead_letters import Limit
from chassis.inbox import forget
from chassis.kafka import BrokerPublisher, broker, knock
from chassis.lag import MEASURE_SECONDS, Lag
from chassis.leases import Clock, NamedLease
from chassis.migrations import migrate
from chassis.outbox import Relay, pending
from chassis.protocol import Guarded
from chassis.settings import Settings, complaints
from chassis.settings_change import tell_changed
from chassis.subscription import Subscription
from chassis.wire import decode
from contracts.message import utc_now
from contracts.topics import CANARY, Topic

LOG = logging.getLogger(__name__)
Work = Callable[[], Awaitable[None]]
Probe = Callable[[], Awaitable[str]]
LEASE_TTL = timedelta(seconds=5)
TIDY_SECONDS = 60.0
PACE_SECONDS = 0.1
"""How far apart batches begin at least: what follows closely shares one's transaction."""
OBJECTS_PER_COLLECTION = 100_000
"""More than a batch makes: collected amid one, nearly all of them are found in use."""
KEEP_ALIVE_SECONDS = 75
"""Longer than proxies keep a connection that rests (60 s, mostly): none is used while it is closed."""


def _is_probe(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in {"/healthz", "/readyz", "/metrics"}


_TELEMETRY: TelemetryConfig = {
    "operation_spans": False,
    "metrics": False,
    "logs": False,
    "exclude": _is_probe,
}


class Service:
    """What `build(settings)` of each service returns."""

    def __init__(
        self, name: str, settings: Settings, *, clock: Clock = utc_now, pace: float = PACE_SECONDS
    ) -> None:
        self.name = name
        self.pace = pace
        self.settings = settings
        self.clock = clock
        self.database = Database(settings.database_url, name, pool=settings.database_pool)
        self.shared_clock = SharedClock(self.database, clock)
        """For what replicas decide among themselves by time: leases, and work that comes due."""
        self.broker = broker(settings, f"hostler-{name}")
        self.consumers: list[Consumer] = []
        self.consumers.append(Replayer(name, self.consumers, self.database, clock))
        self.lag = Lag(name, clock)
        self.stopping = asyncio.Event()
        self.connected = asyncio.Event()
        self._refused = ""
        """Why Kafka does not let the service in; empty while it is not known not to."""
        self._works: dict[str, Work] = {
            "relay": self._relay,
            "tidy": self._tidy,
            "clock": self.shared_clock.keep,
            "settings": self._tell_settings,
        }
        self._probes: dict[str, Probe] = {
            "database": self._probe_database,
            "kafka": self.probe_kafka,
            "consumers": self._probe_consumers,
            "lag": self.lag.probe,
        }
        self._optional: set[str] = {"lag"}
        self.consume_many(CANARY, answer(name, clock))

    def lease(self, name: str, ttl: timedelta = LEASE_TTL) -> NamedLease:
        """A lease among the replicas of this service."""
        return NamedLease(self.database, name, self.shared_clock, ttl)

    def consume(self, topic: Topic, handle: Handler) -> None:
        """Have `handle` called once for each message on `topic`, within a transaction."""
        self._consume(topic, handle=handle)

    def consume_many(self, topic: Topic, handle_many: BatchHandler, *, apart: bool = False) -> None:
        """Have `handle_many` called with each batch, messages with their records, in a transaction.

        It gets messages that come again, too, and batches of one where a larger one failed. A topic
        that is `apart` does not wait for batches of the others.
        """
        self._consume(topic, handle_many=handle_many, apart=apart)

    def consume_read(
        self,
        topic: Topic,
        read: Reader[ToldT],
        handle_many: ReadHandler[ToldT],
        *,
        apart: bool = False,
        on_bury: OnBury | None = None,
    ) -> None:
        """As `consume_many`, of messages as `read` makes them of records; Poison where it cannot.

        What `on_bury` makes of the record of a dead letter is said together with that.
        """
        self._consume(topic, handle_many=handle_many, read=read, apart=apart, on_bury=on_bury)

    def _consume(
        self,
        topic: Topic,
        *,
        handle: Handler | None = None,
        handle_many: ReadHandler[Any] | None = None,
        read: Reader[Any] = decode,
        apart: bool = False,
        on_bury: OnBury | None = None,
    ) -> None:
        """Add a consumer, in place of the one that the topic has."""
        made = Consumer(
            self.name,
            topic,
            handle,
            self.database,
            self.clock,
            handle_many=handle_many,
            read=read,
            limit=Limit.of(self.settings, self.clock),
            apart=apart,
            on_bury=on_bury,
        )
        self.consumers[:] = [each for each in self.consumers if each.topic != topic] + [made]

    def background(self, name: str, work: Work) -> None:
        """Run `work` all the while; when it raises, again after a pause that grows to 5 s."""
        self._works[name] = work

    def check(self, name: str, probe: Probe, *, required: bool = True) -> None:
        """Show `name` in /readyz: the probe says how it is, or raises.

        What is not `required` is shown, too, but the service is ready without it.
        """
        self._probes[name] = probe
        (self._optional.discard if required else self._optional.add)(name)

    def app(self, **options: Any) -> FastAPI:
        """The HTTP side: /healthz, /readyz, /metrics and whatever the service adds."""
        app = FastAPI(lifespan=self._lifespan, telemetry=_TELEMETRY, **options)
        problems.install(app)
        app.add_api_route("/healthz", self._healthz, include_in_schema=False)
        app.add_api_route("/readyz", self._readyz, include_in_schema=False)
        app.add_api_route("/metrics", self._metrics, include_in_schema=False)
        return app

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """The service's life without HTTP: migrated, consuming, working; drained at the end."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.database.close)
            await self._until_migrated()
            subscription = Subscription(
                self.broker, self.consumers, self.settings.kafka_batch, self.pace, self.lag.taking
            )
            stack.push_async_callback(self.broker.stop)
            stack.push_async_callback(subscription.close)
            async with asyncio.TaskGroup() as group:
                measure = partial(self._measure_lag, subscription)
                works = {"connect": self._connect, "lag": measure, **self._works}
                tasks = [group.create_task(self._keep(n, w), name=n) for n, w in works.items()]
                try:
                    yield
                finally:
                    self.stopping.set()
                    for task in tasks:
                        task.cancel()

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncGenerator[None]:
        async with self.running():
            yield

    async def _until_migrated(self) -> None:
        owner = self.settings.database_owner_url
        while True:
            try:
                await migrate(self.database, owner.get_secret_value() if owner else None)
                return await self.shared_clock.read()
            except Exception as error:
                if not is_outage(error):
                    raise
                LOG.warning("the database is out; %s waits: %s", self.name, error)
            await asyncio.sleep(1)

    async def _connect(self) -> None:
        try:
            await knock(self.settings)
        except ConnectionError as error:
            self._refused = str(error)
            raise
        self._refused = ""
        try:
            await self.broker.start()
        except BaseException:
            await self.broker.stop()
            raise
        self.connected.set()
        await asyncio.Event().wait()

    async def _relay(self) -> None:
        await self.connected.wait()
        lease = self.lease("relay")
        await Relay(self.database, BrokerPublisher(self.broker, lease.require), lease).run()

    async def _keep(self, name: str, work: Work) -> None:
        """Run work until cancelled; say what ended it and begin again.

        Work that fails while it cleans up after a cancel has swallowed that cancel: it is over, too.
        """
        pause = 0.2
        while True:
            try:
                await work()
            except Exception as error:
                if isinstance(error, KafkaError) or is_outage(error):
                    LOG.warning("%s waits: %s", name, error)
                else:
                    LOG.exception("%s failed; it begins again", name)
            if self.stopping.is_set():
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def _tell_settings(self) -> None:
        """Say once, after a start, which settings are others than at the last one."""
        async with self.database.session() as session:
            await tell_changed(session, self.name, self.settings, self.clock())
        await asyncio.Event().wait()

    async def _tidy(self) -> None:
        while True:
            async with self.database.session() as session:
                await forget(session, self.clock() - self.settings.inbox_retention)
            await asyncio.sleep(TIDY_SECONDS)

    async def _measure_lag(self, subscription: Subscription) -> None:
        await self.connected.wait()
        while True:
            if sources := subscription.sources:
                await self.lag.measure(sources)
            await asyncio.sleep(MEASURE_SECONDS)

    async def _probe_consumers(self) -> str:
        """Raises while a consumer waits because too many of its records would be dead letters.

        And where records wait of which none was taken for too long.
        """
        stopped = [each.stopped for each in self.consumers if each.stopped]
        if stopped:
            raise RuntimeError(f"too many dead letters: {'; '.join(stopped)}")
        if stands := self.lag.stands():
            raise RuntimeError("; ".join(stands[:5]))
        return ", ".join(each.topic.name for each in self.consumers)

    async def _probe_database(self) -> str:
        await self.database.ping()
        return "postgres" if self.database.is_postgres else "sqlite"

    async def probe_kafka(self) -> str:
        """Where Kafka is; raises while it does not answer."""
        if not self.connected.is_set() or not await self.broker.ping(timeout=2):
            raise ConnectionError(self._refused or "no connection")
        return self.settings.kafka_bootstrap_servers

    async def _healthz(self) -> dict[str, str]:
        return {"status": "ok", "service": self.name}

    async def _readyz(self) -> JSONResponse:
        async with asyncio.TaskGroup() as group:
            asked = {n: group.create_task(_asked(p)) for n, p in self._probes.items()}
        checks = {name: task.result() for name, task in asked.items()}
        ready = all(check["ok"] or name in self._optional for name, check in checks.items())
        ready = ready and not self.stopping.is_set()
        body = {"status": "ok" if ready else "unavailable", "service": self.name, "checks": checks}
        return JSONResponse(body, 200 if ready else 503)

    async def _metrics(self) -> Response:
        with suppress(Exception):
            async with self.database.reading() as session:
                count, oldest = await pending(session)
            telemetry.OUTBOX_PENDING.labels(self.name).set(count)
            age = (self.clock() - oldest).total_seconds() if oldest else 0
            telemetry.OUTBOX_AGE.labels(self.name).set(age)
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _asked(probe: Probe) -> dict[str, object]:
    try:
        return {"ok": True, "detail": await asyncio.wait_for(probe(), 3)}
    except Exception as error:  # noqa: BLE001 - whatever is wrong is the answer
        return {"ok": False, "detail": str(error) or type(error).__name__}


class _Server(uvicorn.Server):
    """Tells the service of SIGTERM at once, so that long polls and streams end by themselves."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start; what is there then, stays: collections look only at what comes."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(OBJECTS_PER_COLLECTION)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.stopping.set()
        super().handle_exit(sig, frame)


def server_of(service: Service, app: FastAPI) -> uvicorn.Server:
    """What serves the app, as the settings say."""
    settings = service.settings
    config = uvicorn.Config(
        app,
        http=Guarded,
        host=settings.http_host,
        port=settings.http_port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whom to believe about addresses is the service's own matter
        ws="none",
        ssl_certfile=settings.tls_certfile,
        ssl_keyfile=settings.tls_keyfile,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    return _Server(config, service)


def run(service: Service, app: FastAPI) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    telemetry.configure(service.name, service.settings.log_level)
    server_of(service, app).run()


def main(build: Callable[[], tuple[Service, FastAPI]]) -> None:
    """A process's whole life: build what the environment tells, and run it.

    What is wrong with the settings is told on stderr, a line each, and ends it with status 2.
    """
    try:
        service, app = build()
    except (ValueError, OSError) as error:
        print(*complaints(error), sep="\n", file=sys.stderr)  # noqa: T201 - there is no log yet
        sys.exit(2)
    run(service, app)
