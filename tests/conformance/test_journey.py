"""One VM's whole life through the real services, on the cloud that OS_CLOUD names or the simulator."""

import os
from pathlib import Path

import pytest

from deploy.local.client import Client
from deploy.local.journey import Journey
from deploy.local.stack import Stack
from deploy.local.timeline import Timeline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_one_vms_whole_life_is_as_promised(tmp_path: Path) -> None:
    stack = Stack(tmp_path, environment=os.environ)
    stack.start()
    client = Client(stack.base_url, stack.api_key)
    try:
        Journey(client, Timeline(), stack.cloud.name, stack.cloud.clouds_yaml).play()
    finally:
        client.close()
        stack.stop()
