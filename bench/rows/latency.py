"""From a command's 202 to the cloud's hearing of it, beside a bare Kafka round trip."""

import asyncio
import time
import uuid
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.bench import Bench
from bench.client import CREATE, arrivals, cpu_seconds, forget_calls, timing
from bench.result import Chart, Measured, Series, percentile
from bench.spent import each, sentence
from deploy.local.stack import Stack

SECONDS = 30
ROUNDS = 2
RATES = (5.0, 10.0, 20.0)
JUDGED = (5.0, 10.0)
"""Up to half of what two cores carry of commands that come one by one: beyond it waits are queues."""
SHARES = (0.5, 0.95, 0.99)
ROUND_TRIPS = 600
WARM_UP = 20
"""Commands that are not counted: the first one logs in at the cloud."""
_SCRATCH = "bench.scratch"
"""A topic of the row's own, with one partition."""


async def measure(bench: Bench) -> Measured:
    """Commands at steady rates and round trips in turns, each the p95 of all; judged is the worst."""
    row = Measured("latency", "the round trip of a bare aiokafka producer and consumer")
    ours: dict[float, list[float]] = {rate: [] for rate in RATES}
    bare: list[float] = []
    spent: dict[str, float] = {}
    async with bench.stack() as stack:
        await timing(stack, build=0.2)
        await _commands(stack, WARM_UP, JUDGED[-1])
        for _ in range(1 if bench.quick else ROUNDS):
            bare += await _round_trips(stack, bench.count(ROUND_TRIPS))
            for rate in RATES:
                used = cpu_seconds(stack)
                took = await _commands(stack, bench.count(int(rate * SECONDS)), rate)
                ours[rate] += took
                if rate == JUDGED[-1]:
                    spent = each(used, cpu_seconds(stack), len(took))
    named = {f"202 → Nova call at {rate:g}/s": values for rate, values in ours.items()}
    for name, values in {"Kafka round trip": bare, **named}.items():
        for share in SHARES:
            row.figure(f"{name}, p{share * 100:g}", percentile(values, share), "ms")
    series = tuple(
        Series(f"p{share * 100:g}", tuple((r, percentile(ours[r], share)) for r in RATES))
        for share in SHARES
    )
    row.charts.append(Chart("From 202 to Nova", "commands per second", "ms", series))
    p95 = max(percentile(ours[rate], 0.95) for rate in JUDGED)
    judged = f"p95 at up to {JUDGED[-1]:g}/s"
    row.at_most(f"{judged}, times the round trip's", p95 / percentile(bare, 0.95), 3)
    row.at_most(f"{judged}, in ms", p95, 50)
    row.limit = sentence(f"a command on its whole way, at {JUDGED[-1]:g}/s,", spent) + (
        " On the way are four commits in a row (the command, what the relay read, the inbox, the"
        " claim), a round trip of Kafka and a thread that asks the cloud, beside all that follows"
        " from the commands before it."
    )
    return row


async def _commands(stack: Stack, count: int, rate: float) -> list[float]:
    """Milliseconds from the answer to the arrival at Nova, which both read one machine's clock."""
    await forget_calls(stack)
    accepted: dict[str, float] = {}
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=30, trust_env=False) as http:

        async def create() -> None:
            request_id = f"req-{uuid.uuid4()}"
            answer = await http.post(
                "/v1/vms",
                content=CREATE.replace("{n}", request_id),
                headers={
                    "X-API-Key": stack.api_key,
                    "X-Openstack-Request-Id": request_id,
                    "Content-Type": "application/json",
                },
            )
            accepted[request_id] = time.time()
            answer.raise_for_status()

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(create())
                await asyncio.sleep(1 / rate)
    await asyncio.sleep(3)
    came = await arrivals(stack, "/servers")
    missing = accepted.keys() - came.keys()
    if missing:
        raise RuntimeError(f"{len(missing)} of {count} commands never reached the cloud")
    # The cloud may hear of a command before its answer is read here: that counts as no time.
    return [max(0.0, came[i] - at) * 1000 for i, at in accepted.items()]


async def _round_trips(stack: Stack, count: int) -> list[float]:
    await _make_scratch(stack)
    producer: Any = AIOKafkaProducer(
        bootstrap_servers=stack.kafka, acks="all", enable_idempotence=True, linger_ms=0
    )
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=stack.kafka, fetch_max_wait_ms=100)
    await producer.start()
    await consumer.start()
    try:
        place = TopicPartition(_SCRATCH, 0)
        consumer.assign([place])
        await consumer.seek_to_end(place)
        took: list[float] = []
        for _ in range(count):
            begun = time.perf_counter()
            await producer.send(_SCRATCH, b"x" * 500, partition=0)
            await consumer.getone()
            took.append((time.perf_counter() - begun) * 1000)
            await asyncio.sleep(0.01)
        return took
    finally:
        await consumer.stop()
        await producer.stop()


async def _make_scratch(stack: Stack) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    try:
        if _SCRATCH not in await admin.list_topics():
            await admin.create_topics([NewTopic(_SCRATCH, 1, 1)])
    finally:
        await admin.close()
