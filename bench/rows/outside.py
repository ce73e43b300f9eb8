"""A change from outside, from Nova's answer to the read model: by sweeps alone, and by notifications.

HOSTLER_BENCH_CLOUD names an entry of clouds.yaml (OS_CLIENT_CONFIG_FILE), HOSTLER_BENCH_AMQP_URL the
RabbitMQ of its Nova. Without both the simulator is asked, which has no notifications: then there is
no goal.
"""

import asyncio
import json
import os
import time
from typing import Any

import openstack

from bench.bench import Bench
from bench.client import own_tenant
from bench.result import Measured, percentile
from deploy.local.catalog import choose
from deploy.local.client import WAIT, Client
from deploy.local.stack import Stack

BY_SWEEPS = 8
BY_NOTIFICATIONS = 40
SWEPT_EVERY = "10"
"""Seconds: as by default, and not as often as stacks on one machine sweep."""
LOOK_SECONDS = 0.02
LONGEST_SECONDS = 60.0


async def measure(bench: Bench) -> Measured:
    """Renames in the cloud, one after another, each until `GET /v1/vms/{id}` shows it."""
    cloud = os.environ.get("HOSTLER_BENCH_CLOUD", "")
    url = os.environ.get("HOSTLER_BENCH_AMQP_URL", "") if cloud else ""
    row = Measured("outside", f"sweeps of {cloud or 'the simulator'}, without notifications")
    kept = {k: v for k, v in os.environ.items() if k == "OS_CLIENT_CONFIG_FILE"}
    given = kept | {"OS_CLOUD": cloud} if cloud else {}
    given |= {"HOSTLER_SWEEP_INTERVAL_SECONDS": SWEPT_EVERY}
    swept = await _renames(bench, bench.count(BY_SWEEPS), given)
    for share in (0.5, 0.95):
        row.figure(f"by sweeps, p{share * 100:g}", percentile(swept, share), "s")
    if url:
        given |= {"HOSTLER_NOTIFICATIONS": json.dumps({cloud: url})}
        heard = await _renames(bench, bench.count(BY_NOTIFICATIONS), given)
        for share in (0.5, 0.95, 1):
            row.figure(f"by notifications, p{share * 100:g}", percentile(heard, share), "s")
        row.at_most("by notifications, p95 in s", percentile(heard, 0.95), 1)
    return row


async def _renames(bench: Bench, count: int, given: dict[str, str]) -> list[float]:
    async with bench.stack(**given) as stack:
        return await asyncio.to_thread(_rename, stack, count, given.get("OS_CLOUD", ""))


def _rename(stack: Stack, count: int, cloud: str) -> list[float]:
    """Seconds of each rename of a VM of its own."""
    nova: Any = openstack.connect(cloud=cloud) if cloud else own_tenant(stack)
    client = Client(stack.base_url, stack.api_key)
    try:
        body = {"name": "outside", **choose(client)}
        made = client.call("POST", "/v1/vms", json=body, headers=WAIT, expect=(200, 202)).json()
        path = f"/v1/vms/{made['vm_id']}"
        server = _shown(client, path, "state", "active")["server_id"]
        took: list[float] = []
        for number in range(count):
            changed = f"outside-{number}"
            nova.compute.update_server(server, name=changed)
            begun = time.perf_counter()
            _shown(client, path, "name", changed)
            took.append(time.perf_counter() - begun)
            time.sleep(1)
        client.call("DELETE", path, headers=WAIT, expect=(200, 202))
    finally:
        client.close()
        nova.close()
    return took


def _shown(client: Client, path: str, field: str, value: str) -> dict[str, Any]:
    end = time.monotonic() + LONGEST_SECONDS
    while True:
        vm: dict[str, Any] = client.call("GET", path).json()
        if vm[field] == value:
            return vm
        if time.monotonic() > end:
            raise RuntimeError(f"{path}: {field} is {vm[field]}, not {value}")
        time.sleep(LOOK_SECONDS)
