"""One request seen from outside: its trace through every service, its log lines, the metrics."""

import base64
import json
import os
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from deploy.local.stack import SERVICES, ServiceProcess, Stack
from tests.faults.scene import Json, Scene

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(300)]

USER_DATA: Final = base64.b64encode(b"#cloud-config\npassword: hunter2-hunter2").decode()
TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS_SPAN: Final = "00f067aa0ba902b7"
REQUEST_ID: Final = "req-6f1d2c0a-8a55-4c1e-9a6b-0d6f3b1c2a77"
JOURNEY: Final = (
    ("gateway", "POST /v1/vms"),
    ("provisioner", "provisioner takes vm.create.v1"),
    ("provisioner", "provisioner perform vm.create.v1"),
    ("provisioner", "POST compute /servers"),
    ("sync", "sync takes operation.issued.v1"),
    ("sync", "sync says vm.observed.v1"),
    ("provisioner", "provisioner takes vm.observed.v1"),
    ("gateway", "gateway takes operation.succeeded.v1"),
    ("audit", "audit takes vm.create.v1"),
    ("audit", "audit takes operation.succeeded.v1"),
)


@dataclass(frozen=True)
class Span:
    """One span as the collector got it; ids in hex."""

    service: str
    name: str
    trace: str
    id: str
    parent: str


class Collector:
    """An OTLP/HTTP receiver on a thread: keeps what it gets, parsed and as it came."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.raw = b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.take(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            named = {a.key: a.value.string_value for a in resource.resource.attributes}
            service = named["service.name"].removeprefix("hostler-")
            for scope in resource.scope_spans:
                self.spans += [
                    Span(
                        service,
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                    )
                    for span in scope.spans
                ]
        self.raw += body

    def trace(self) -> list[Span]:
        """The spans of the caller's trace."""
        return [span for span in self.spans if span.trace == TRACE]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass(frozen=True)
class Told:
    """What was seen of one create, after all services have ended."""

    spans: list[Span]
    raw: bytes
    logs: dict[str, list[Json]]
    metrics: dict[str, httpx.Response]
    operation: Json
    api_key: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A VM made over HTTP on a stack that traces, by a caller who traces, too."""
    collector = Collector()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "OTEL_"))}
    otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    stack = Stack(tmp_path_factory.mktemp("traced"), environment=kept | otel)
    stack.start()
    scene = Scene(stack)
    try:
        scene.until(scene.has_catalog, "the catalog is there")
        operation = create(scene)
        scene.until(lambda: seen(collector) >= set(JOURNEY), "the trace is whole")
        metrics = {name: httpx.get(metrics_of(stack, name), trust_env=False) for name in SERVICES}
    finally:
        scene.close()
        stack.stop()
        collector.close()
    logs = {name: lines(stack.logs / f"{name}.log") for name in SERVICES}
    return Told(collector.trace(), collector.raw, logs, metrics, operation, stack.api_key)


def create(scene: Scene) -> Json:
    """The operation of a create, ended."""
    headers = {
        "traceparent": f"00-{TRACE}-{CALLERS_SPAN}-01",
        "X-Openstack-Request-Id": REQUEST_ID,
    }
    body = {"name": "traced", "flavor": "m1.nano", "image": "tiny-raw", "user_data": USER_DATA}
    answer = scene.http.post("/v1/vms", json={**body, "networks": ["private"]}, headers=headers)
    assert answer.status_code == 202, answer.text
    done = scene.ended(answer.json())
    assert done["state"] == "succeeded", done
    return done


def seen(collector: Collector) -> set[tuple[str, str]]:
    return {(span.service, span.name) for span in collector.trace()}


def metrics_of(stack: Stack, name: str) -> str:
    service = stack.parts[name]
    assert isinstance(service, ServiceProcess)
    return f"http://127.0.0.1:{service.port}/metrics"


def lines(log: Path) -> list[dict[str, Any]]:
    """The JSON lines of a log; what Python says before logging is set up is none."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def test_one_trace_leads_from_the_request_to_the_cloud_and_back(told: Told) -> None:
    assert {(span.service, span.name) for span in told.spans} >= set(JOURNEY)


def test_the_trace_goes_on_with_that_of_the_caller(told: Told) -> None:
    (door,) = [span for span in told.spans if span.name == "POST /v1/vms"]
    assert door.parent == CALLERS_SPAN


def test_every_span_of_the_trace_has_its_parent_in_it(told: Told) -> None:
    ids = {span.id for span in told.spans} | {CALLERS_SPAN}
    assert [span for span in told.spans if span.parent not in ids] == []


def test_no_span_holds_the_callers_key_or_what_the_vm_is_told_at_boot(told: Told) -> None:
    assert told.spans
    for secret in (told.api_key, USER_DATA, "hunter2"):
        assert secret.encode() not in told.raw


@pytest.mark.parametrize("service", ["gateway", "provisioner", "sync"])
def test_every_log_line_about_an_operation_names_request_vm_and_operation(
    told: Told, service: str
) -> None:
    ids = {
        "request_id": REQUEST_ID,
        "vm_id": told.operation["vm_id"],
        "operation_id": told.operation["id"],
    }
    about = [line for line in told.logs[service] if any(i in str(line) for i in ids.values())]
    assert about, f"{service} says nothing of it"
    wanting = [line for line in about if {name: line.get(name) for name in ids} != ids]
    assert wanting == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_log_line_holds_the_callers_key_or_user_data(told: Told, service: str) -> None:
    for secret in (told.api_key, USER_DATA, "hunter2"):
        assert secret not in json.dumps(told.logs[service])


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_answers_prometheus(told: Told, service: str) -> None:
    answer = told.metrics[service]
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert f'hostler_outbox_pending{{service="{service}"}}' in answer.text
