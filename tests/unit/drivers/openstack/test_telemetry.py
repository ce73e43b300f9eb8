"""What is seen of a call."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from chassis.errors import Terminal
from drivers.openstack.calls import Answer, Call
from drivers.openstack.cloud import Cloud
from drivers.openstack.connection import Connection
from drivers.openstack.settings import OpenStackSettings
from drivers.openstack.telemetry import sent_to
from tests.unit.drivers.openstack.answers import answer


async def test_a_call_is_a_span_with_the_clouds_request_id_and_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("drivers.openstack.telemetry._TRACER", provider.get_tracer("test"))
    in_thread: list[int] = []

    def send(_connection: Connection, _call: Call) -> Answer:
        sent_to("http://cloud.example:8774/v2.1")
        in_thread.append(trace.get_current_span().get_span_context().trace_id)
        return answer(400, b"", x_openstack_request_id="req-of-cloud")

    monkeypatch.setattr(Connection, "send", send)
    labels = {"service": "compute", "method": "PUT", "status": "400"}
    before = REGISTRY.get_sample_value("hostler_cloud_calls_total", labels) or 0
    call = Call("compute", "PUT", "/servers/{id}", ids={"id": "s"}, body={"password": "secret"})
    with pytest.raises(Terminal):
        await Cloud("demo", OpenStackSettings()).ask(call)
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert in_thread == [span.context.trace_id]
    assert dict(span.attributes or {}) == {
        "http.request.method": "PUT",
        "url.template": "/servers/{id}",
        "hostler.account": "demo",
        "openstack.service": "compute",
        "server.address": "cloud.example",
        "server.port": 8774,
        "http.response.status_code": 400,
        "openstack.request_id": "req-of-cloud",
    }
    assert REGISTRY.get_sample_value("hostler_cloud_calls_total", labels) == before + 1
    assert REGISTRY.get_sample_value("hostler_cloud_calls_in_flight", {"service": "compute"}) == 0
