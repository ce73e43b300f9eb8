"""Tracing: off unless the environment names a collector, and never in the way of a process's end."""

import os
import subprocess
import sys

from deploy.local.processes import free_port

CALLERS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ONE_SPAN = """
from chassis.telemetry import configure, current_traceparent, spanning
configure("toy", "warning")
with spanning("a span", "%s"):
    print(current_traceparent())
"""


def said_by_a_process(**environment: str) -> str:
    """What the current trace context is within a span of another process, which has ended."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", ONE_SPAN % CALLERS],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()[0]


def test_without_a_collector_nothing_is_traced() -> None:
    assert said_by_a_process() == ""


def test_with_a_collector_spans_are_made_and_one_that_is_gone_does_not_keep_a_process() -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    said = said_by_a_process(OTEL_EXPORTER_OTLP_ENDPOINT=gone, OTEL_EXPORTER_OTLP_TIMEOUT="100000")
    assert said.split("-")[1] == CALLERS.split("-")[1]
    assert said != CALLERS
