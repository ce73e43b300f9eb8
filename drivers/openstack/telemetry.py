"""What is seen of each cloud call: a span with the cloud's request id, and metrics. No secrets."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from prometheus_client import Counter, Gauge, Histogram

from drivers.openstack.calls import Answer, Call

_TRACER = trace.get_tracer("hostler.drivers")
_CALLS = Counter("hostler_cloud_calls", "Calls answered.", ["service", "method", "status"])
_SECONDS = Histogram("hostler_cloud_call_seconds", "Time per call.", ["service", "method"])
_IN_FLIGHT = Gauge("hostler_cloud_calls_in_flight", "Calls under way.", ["service"])


class Observer:
    """Takes note of how one call goes; a call without an answer counts with the status `none`."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.status = "none"

    def answered(self, answer: Answer) -> None:
        """Note the answer."""
        self.status = str(answer.status)
        self._span.set_attribute("http.response.status_code", answer.status)
        self._span.set_attribute("openstack.request_id", answer.cloud_request_id or "")
        if answer.status >= 400:  # noqa: PLR2004 - HTTP
            self._span.set_status(Status(StatusCode.ERROR))


def sent_to(url: str) -> None:
    """Note on the current span, in whatever thread, which host the call goes to."""
    parts = urlsplit(url)
    span = trace.get_current_span()
    span.set_attribute("server.address", parts.hostname or "")
    if parts.port:
        span.set_attribute("server.port", parts.port)


@contextmanager
def observing(account: str, call: Call) -> Generator[Observer]:
    """A client span and the metrics around one call, waiting for a free thread included."""
    attributes = {
        "http.request.method": call.method,
        "url.template": call.template,
        "hostler.account": account,
        "openstack.service": call.service,
    }
    name = f"{call.method} {call.service} {call.template}"
    begun = perf_counter()
    with _TRACER.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=attributes) as span:
        observer = Observer(span)
        in_flight, seconds = _measures(call.service, call.method)
        in_flight.inc()
        try:
            yield observer
        finally:
            in_flight.dec()
            seconds.observe(perf_counter() - begun)
            _CALLS.labels(call.service, call.method, observer.status).inc()


@cache
def _measures(service: str, method: str) -> tuple[Gauge, Histogram]:
    return _IN_FLIGHT.labels(service), _SECONDS.labels(service, method)
