"""`python -m services.gateway.rebuild --from kafka|audit [--dry-run]`: the read model, told anew.

While gateways serve: everything that was said is read from its beginning, made into rows in
memory, and merged into the tables of VMs and operations (see `merging`); of catalog and inventory
what was said last is kept. Nothing is cleared. Killed, run it again. Audit keeps no catalog.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, cast
from urllib.parse import urlencode

from aiokafka import AIOKafkaConsumer, TopicPartition

from chassis.database import Database
from chassis.identity import Caller, Vouching
from chassis.ids import new_id
from chassis.kafka import connection, records_of
from chassis.settings import Settings
from chassis.wire import Poison, decode
from contracts.identity import Role
from contracts.message import Body, Message, utc_now
from contracts.topics import RETOLD, types
from services.gateway.forwarding import Audit
from services.gateway.merging import Merge
from services.gateway.retelling import Retold
from services.gateway.settings import GatewaySettings

Messages = AsyncGenerator[Message[Body]]


async def from_kafka(settings: Settings) -> Messages:
    """All that stands on Kafka when a topic's turn comes. What no consumer could read is left out."""
    for topic in RETOLD:
        consumer: Any = AIOKafkaConsumer(
            topic.name,
            **connection(settings),
            group_id=None,
            auto_offset_reset="earliest",
            client_id="hostler-rebuild",
        )
        await consumer.start()
        try:
            async for message in _read(consumer):
                yield message
        finally:
            await consumer.stop()


async def _read(consumer: Any) -> Messages:
    parts = list(consumer.assignment())
    ends: dict[TopicPartition, int] = await consumer.end_offsets(parts)
    while open_ := [each for each in parts if await consumer.position(each) < ends[each]]:
        found = await consumer.getmany(*open_, timeout_ms=500)
        for raw in found.values():
            for record in records_of(tuple(raw)):
                try:
                    yield decode(record)
                except Poison:
                    continue


async def from_audit(settings: GatewaySettings, audit: Audit) -> Messages:
    """All that audit keeps; ValueError if its export breaks off."""
    vouching = Vouching(settings.internal_secret)
    token = vouching.sign(Caller("hostler/gateway", "*", Role.ADMIN), "audit", utc_now())
    query = urlencode(
        [("type", f"{kind}.*") for kind in ("vm", "operation", "orphan", "unmanaged")]
    )
    lines = _lines(audit.stream("/v1/audit/export", query, token, f"req-{new_id()}"))
    count = 0
    async for line in lines:
        entry = json.loads(line)
        if "message_id" not in entry:
            if entry.get("count") != count:
                raise ValueError(f"audit told of {count} entries and counts {entry.get('count')}")
            return
        count += 1
        if entry["type"] in types():
            yield message_of(entry)
    raise ValueError("audit's export broke off")


async def _lines(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    rest = b""
    await anext(chunks)  # the media type
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line


def message_of(entry: dict[str, Any]) -> Message[Body]:
    """The message that an entry of the ledger keeps, but for its secrets."""
    body = types()[entry["type"]]
    data = {k: v for k, v in entry["data"].items() if not _is_digest(k, v)}
    said = {k: entry[k] or "" for k in ("source", "subject", "project_id", "account", "actor")}
    return Message[Body].model_validate(
        {
            **said,
            **entry.get("access", {}),
            "id": entry["message_id"],
            "time": entry["time"],
            "operation_id": entry["operation_id"],
            "request_id": entry["request_id"] or "",
            "data": body.model_validate_json(json.dumps(data)),
        }
    )


def _is_digest(name: str, value: object) -> bool:
    if name not in {"user_data", "sealed_user_data"} or not isinstance(value, dict):
        return False
    return "box" not in cast("dict[str, object]", value)


async def retell(messages: Messages) -> Retold:
    """What the messages make of VMs and operations."""
    told = Retold()
    async for message in messages:
        told.hear(message)
    told.end()
    return told


async def rebuild(source: str, *, dry: bool) -> None:
    """Tell the read model anew and merge it, as the environment says."""
    settings = GatewaySettings()
    audit = Audit(settings.audit_url, settings.audit_timeout)
    told = await retell(from_kafka(settings) if source == "kafka" else from_audit(settings, audit))
    print(f"told: {len(told.vms)} VMs, {len(told.operations)} operations")  # noqa: T201
    database = Database(settings.database_url, "gateway", pool=2)
    try:
        counts = await Merge(database, utc_now, told).run(dry=dry)
    finally:
        await database.close()
    print(("would be " if dry else "") + (", ".join(f"{k}: {n}" for k, n in counts.items())))  # noqa: T201


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Rebuild the gateway's read model.")
    parser.add_argument("--from", dest="source", choices=("kafka", "audit"), required=True)
    parser.add_argument("--dry-run", action="store_true", help="count what would change")
    given = parser.parse_args()
    asyncio.run(rebuild(given.source, dry=given.dry_run))


if __name__ == "__main__":
    main()
