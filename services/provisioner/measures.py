"""What Prometheus is told of operations."""

from datetime import datetime

from prometheus_client import Counter, Gauge, Histogram

from services.provisioner.tables import Operation

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 900)
ENDED = Counter("hostler_operations", "Operations that ended.", ["command", "outcome"])
ISSUED_SECONDS = Histogram(
    "hostler_operation_issued_seconds",
    "From accepted to taken by the cloud.",
    ["command"],
    buckets=_SECONDS,
)
ENDED_SECONDS = Histogram(
    "hostler_operation_ended_seconds", "From accepted to ended.", ["command"], buckets=_SECONDS
)
UNREADABLE = Counter(
    "hostler_operations_unreadable", "Operations that were due and could not be read."
)
UNENDED = Counter(
    "hostler_operations_unended", "Overdue operations that could not be ended, each time anew."
)
OPEN = Gauge("hostler_operations_open", "Operations that have not ended.", ["state"])
RUNNING = Gauge("hostler_worker_running", "Operations that this process works on.")


def count_issued(operation: Operation, now: datetime) -> None:
    """The cloud has taken it."""
    ISSUED_SECONDS.labels(operation.command).observe(_age(operation, now))


def count_ended(operation: Operation, now: datetime) -> None:
    """It has ended, as its state says."""
    ENDED.labels(operation.command, operation.state).inc()
    ENDED_SECONDS.labels(operation.command).observe(_age(operation, now))


def _age(operation: Operation, now: datetime) -> float:
    return max(0.0, (now - operation.created_at).total_seconds())
