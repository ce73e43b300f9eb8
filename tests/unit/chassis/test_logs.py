"""Logs are JSON that carries ids, and an ERROR in them is one."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from chassis.telemetry import bound, configure


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    root, stream = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    monkeypatch.setattr("sys.stdout", stream)
    configure("toy", "INFO")
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_is_json_with_the_ids_of_what_it_is_about(
    logs: io.StringIO,
) -> None:
    with bound(request_id="req-1", vm_id="vm-1", operation_id="op-1"):
        logging.getLogger("toy").info("a\nb", extra={"color_message": "\x1b[36m"})
    line = json.loads(logs.getvalue())
    ids = {name: line[name] for name in ("request_id", "vm_id", "operation_id")}
    assert ids == {"request_id": "req-1", "vm_id": "vm-1", "operation_id": "op-1"}
    assert (line["level"], line["message"], line["service"]) == ("INFO", "a\nb", "toy")
    assert "color_message" not in line


def test_what_aiokafka_repeats_by_itself_is_no_error(logs: io.StringIO) -> None:
    logging.getLogger("aiokafka.consumer.group_coordinator").error("not available")
    logging.getLogger("chassis.kafka").error("a dead letter")
    told = [json.loads(line)["level"] for line in logs.getvalue().splitlines()]
    assert told == ["WARNING", "ERROR"]


def test_a_start_does_not_warn_of_topics_that_are_made_elsewhere(
    logs: io.StringIO,
) -> None:
    logging.getLogger("chassis.kafka").warning("Auto create topics is disabled. Make sure …")
    assert logs.getvalue() == ""
