"""Whatever is asked, lost, repeated or killed in whichever order: in the end all books agree.

HOSTLER_PROPERTY_EXAMPLES (25) and HOSTLER_PROPERTY_STEPS (40) make it look longer.
"""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.machine import Machine
from tests.property.world import make_template

pytestmark = pytest.mark.timeout(0)


def test_cloud_read_model_kafka_and_audit_agree_after_everything(tmp_path: Path) -> None:
    Machine.template = tmp_path
    with asyncio.Runner() as runner:
        runner.run(make_template(tmp_path))
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=int(os.environ.get("HOSTLER_PROPERTY_EXAMPLES", "25")),
            stateful_step_count=int(os.environ.get("HOSTLER_PROPERTY_STEPS", "40")),
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
