"""Audit's ingest, from Kafka into the ledger, beside a bare COPY of the same rows."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from aiokafka import AIOKafkaProducer
from psycopg import sql

from bench.bench import Bench, database_url
from bench.result import Measured
from chassis.ids import new_id
from chassis.wire import encode
from contracts.message import Message
from contracts.operation.events import Started
from deploy.local.postgres import dsn
from deploy.local.stack import Stack

ROWS = 100_000
VMS = 2_000
AT_ONCE = 2_000
_COLUMNS = sql.SQL(
    "chain, position, message_id, type, time, source, subject, vm_id, project_id, account,"
    " actor, operation_id, request_id, data, recorded_at, previous_hash, hash"
)
_TWIN = (
    "CREATE TABLE audit.twin (LIKE audit.ledger INCLUDING DEFAULTS)",
    "ALTER TABLE audit.twin ADD PRIMARY KEY (chain, position), ADD UNIQUE (message_id)",
    "CREATE INDEX ON audit.twin (project_id, time, id)",
    "CREATE INDEX ON audit.twin (vm_id, time, id)",
    "CREATE INDEX ON audit.twin (operation_id, time, id)",
)


async def measure(bench: Bench) -> Measured:
    """Fill Kafka while audit is down, then let it catch up; copy what it wrote into a twin."""
    measured = Measured(
        "ingest", "COPY of the same rows, in the same batches, with the same indexes"
    )
    rows = bench.count(ROWS)
    async with bench.stack() as stack:
        for name in ("audit", "sync", "provisioner", "gateway"):
            await asyncio.to_thread(stack.parts[name].stop)
        await _publish(stack.kafka, rows)
        ingested = await _catch_up(stack, rows)
        await asyncio.to_thread(stack.parts["audit"].stop)
        copied, file = await asyncio.to_thread(_copy, database_url(stack), bench.folder)
        file.unlink()
    measured.figure("audit, Kafka → ledger", ingested, "rows/s")
    measured.figure("bare COPY", copied, "rows/s")
    measured.at_least("rows per second", ingested, 10_000)
    measured.at_least("of a bare COPY", ingested / copied, 0.5)
    measured.limit = (
        "One process reads headers and JSON, writes the canonical form, hashes the chain and writes "
        "COPY's text, a row at a time in Python; Postgres stores rows meanwhile and waits for it. "
        "No step stands out in the profile."
    )
    return measured


async def _publish(address: str, rows: int) -> None:
    producer: Any = AIOKafkaProducer(bootstrap_servers=address, linger_ms=20)
    await producer.start()
    vms = [str(new_id()) for _ in range(VMS)]
    for n in range(rows):
        message = Message(
            id=new_id(),
            source="hostler/provisioner",
            time=datetime.now(UTC),
            subject=vms[n % VMS],
            project_id="demo",
            account="simulator",
            actor="key:bench",
            operation_id=new_id(),
            request_id=f"req-{new_id()}",
            data=Started(command="vm.stop.v1", attempt=1),
        )
        record = encode(message)
        headers = [(name, text.encode()) for name, text in record.headers.items()]
        await producer.send(record.topic, record.value, key=record.key.encode(), headers=headers)
    await producer.stop()


async def _catch_up(stack: Stack, rows: int) -> float:
    """Rows per second from the first row that is seen to the last."""
    await asyncio.to_thread(stack.parts["audit"].start)
    begun, first = 0.0, 0
    address = dsn(database_url(stack))
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        async with asyncio.timeout(300):
            while True:
                cursor = await connection.execute("SELECT sum(position) FROM audit.heads")
                row = await cursor.fetchone()
                seen = int(row[0] or 0) if row else 0
                if seen and not begun:
                    begun, first = time.perf_counter(), seen
                if seen >= rows:
                    return (seen - first) / (time.perf_counter() - begun)
                await asyncio.sleep(0.02)


def _copy(url: str, folder: Path) -> tuple[float, Path]:
    """Rows per second of COPY into a twin of the ledger, and the file that held them."""
    file = folder / "rows.copy"
    with psycopg.connect(dsn(url)) as connection, connection.cursor() as cursor:
        out = sql.SQL("COPY (SELECT {} FROM audit.ledger ORDER BY id) TO STDOUT").format(_COLUMNS)
        with file.open("wb") as kept, cursor.copy(out) as copy:
            for block in copy:
                kept.write(block)
        for statement in _TWIN:
            cursor.execute(statement.encode())
        connection.commit()
        lines = file.read_bytes().splitlines(keepends=True)
        into = sql.SQL("COPY audit.twin ({}) FROM STDIN").format(_COLUMNS)
        begun = time.perf_counter()
        for place in range(0, len(lines), AT_ONCE):
            with cursor.copy(into) as copy:
                copy.write(b"".join(lines[place : place + AT_ONCE]))
            connection.commit()
        return len(lines) / (time.perf_counter() - begun), file
