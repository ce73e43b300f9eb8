"""What is seen from outside: JSON logs that carry ids, traces through Kafka headers, metrics."""

import atexit
import logging
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Thread
from typing import Protocol
from uuid import UUID

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Gauge
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from contracts.message import Body, Message

TRACER = trace.get_tracer("hostler")
CONSUMED = Counter("hostler_messages_consumed", "Messages taken.", ["service", "topic", "type"])
DEAD = Counter("hostler_dead_letters", "Records given up on.", ["service", "topic"])
DISTRUSTED = Counter(
    "hostler_commands_distrusted",
    "Commands whose signature does not hold; trust: warn (believed) or require (refused).",
    ["topic", "trust"],
)
LAG = Gauge(
    "hostler_consumer_lag", "Records that wait in this replica's partitions.", ["service", "topic"]
)
PARTITION_LAG = Gauge(
    "hostler_consumer_partition_lag",
    "Records that wait in a partition: each that this replica holds, or, of a consumer that holds "
    "none, all of its group's.",
    ["service", "topic", "partition"],
)
DELAY = Gauge(
    "hostler_consumer_delay_seconds",
    "How long the oldest record of the last batch had been on Kafka; 0 where nothing waits.",
    ["service", "topic"],
)
STOPPED = Gauge(
    "hostler_consumer_stopped", "1: too many dead letters, it waits.", ["service", "topic"]
)
OUTBOX_PENDING = Gauge("hostler_outbox_pending", "Messages not yet on Kafka.", ["service"])
OUTBOX_AGE = Gauge("hostler_outbox_oldest_seconds", "Age of the oldest of them.", ["service"])

_FLUSH_SECONDS = 1.0
"""How long the end of a process waits for its last spans to be taken: a drain has 10 s in all."""

_IDS: ContextVar[dict[str, str]] = ContextVar("ids")


@contextmanager
def bound(**ids: object) -> Generator[None]:
    """Put ids (`request_id`, `vm_id`, `operation_id` …) on every log line within; None is left out."""
    more = {name: str(value) for name, value in ids.items() if value}
    token = _IDS.set({**_IDS.get({}), **more})
    try:
        yield
    finally:
        _IDS.reset(token)


@contextmanager
def spanning(
    name: str, traceparent: str, kind: SpanKind = SpanKind.INTERNAL, **attributes: str
) -> Generator[None]:
    """A span that goes on with the trace of a message or row; a new trace if that has none.

    Costs nothing where nothing is traced: context then travels in messages and rows alone.
    """
    if not _is_traced():
        yield
        return
    context = propagate.extract({"traceparent": traceparent}) if traceparent else None
    with TRACER.start_as_current_span(name, context=context, kind=kind, attributes=attributes):
        yield


def current_traceparent() -> str:
    """The W3C trace context of the current span; empty where nothing is traced."""
    return carried().get("traceparent", "")


def carried() -> dict[str, str]:
    """The headers that take the current trace context along."""
    carrier: dict[str, str] = {}
    if _is_traced():
        propagate.inject(carrier)
    return carrier


@contextmanager
def consuming(service: str, topic: str, message: Message[Body]) -> Generator[None]:
    """The span and log ids under which one message is handled."""
    with (
        bound(
            request_id=message.request_id,
            operation_id=message.operation_id,
            vm_id=message.subject if topic.startswith("vm.") else None,
        ),
        spanning(
            f"{service} takes {message.type}",
            message.traceparent,
            SpanKind.CONSUMER,
            **_attributes(topic, message),
        ),
    ):
        yield


class Traced(Protocol):
    """A message that may have been said within a trace."""

    @property
    def id(self) -> UUID:
        """Its id."""
        ...

    @property
    def type(self) -> str:
        """Its wire name."""
        ...

    @property
    def traceparent(self) -> str:
        """W3C trace context; empty without one."""
        ...


@contextmanager
def consuming_many(service: str, topic: str, messages: Iterable[Traced]) -> Generator[None]:
    """A span per message of a batch that is handled at once, each in its own message's trace."""
    if not _is_traced():
        yield
        return
    spans = [
        TRACER.start_span(
            f"{service} takes {message.type}",
            context=propagate.extract({"traceparent": message.traceparent}),
            kind=SpanKind.CONSUMER,
            attributes=_attributes(topic, message),
        )
        for message in messages
        if message.traceparent
    ]
    try:
        yield
    finally:
        for span in spans:
            span.end()


def _attributes(topic: str, message: Traced) -> dict[str, str]:
    return {"messaging.destination.name": topic, "messaging.message.id": str(message.id)}


def _is_traced() -> bool:
    return isinstance(trace.get_tracer_provider(), TracerProvider)


class _WithIds(logging.Filter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def filter(self, record: logging.LogRecord) -> bool:
        record.service = self.service
        for name, value in _IDS.get({}).items():
            setattr(record, name, value)
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            record.trace_id = trace.format_trace_id(span.trace_id)
        return True


def _tone(record: logging.LogRecord) -> bool:
    """Take alarm out of what is none: aiokafka repeats by itself what it calls an error."""
    if record.name.startswith("aiokafka.") and record.levelno == logging.ERROR:
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    # FastStream says so at each start, of what broker() asks for: deploy.topics makes the topics.
    return not str(record.msg).startswith("Auto create topics is disabled")


def configure(service: str, level: str) -> None:
    """Set up this process: JSON logs on stdout, traces to OTLP if the environment names a place.

    OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) switches the exporter on; the other standard
    OTEL_* variables hold as the SDK documents them.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        JsonFormatter(
            "%(levelname)s %(name)s %(message)s",
            timestamp=True,
            rename_fields={"levelname": "level", "name": "logger"},
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],
        )
    )
    handler.addFilter(_tone)
    handler.addFilter(_WithIds(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("aiokafka", "chassis.kafka", "httpx", "uvicorn.access", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    _export(service)


def _export(service: str) -> None:
    named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if any(os.environ.get(name) for name in named):
        resource = Resource.create({"service.name": f"hostler-{service}"})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
        atexit.register(_flush, provider)


def _flush(provider: TracerProvider) -> None:
    """Send what is left, for a while: a collector that is gone must not hold the process."""
    flushing = Thread(target=provider.shutdown, daemon=True)
    flushing.start()
    flushing.join(_FLUSH_SECONDS)
