"""What audit's tests say to it, and how they ask."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from pydantic import SecretStr
from sqlalchemy import RowMapping, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.identity import Caller, Vouching
from chassis.ids import new_id
from chassis.testing import VirtualClock
from chassis.wire import Record, encode
from contracts.identity import Role
from contracts.message import Body, Message
from contracts.operation.events import Started
from services.audit.app import Audit, build
from services.audit.guards import sqlite_guard_statements, sqlite_lift_statements
from services.audit.reading import Heard, read
from services.audit.settings import AuditSettings
from services.audit.tables import LEDGER
from services.audit.verification import Verdict, Verification

SECRET = "a secret of thirty-two characters"
KEY = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
CALLER = Caller("key:test", "demo", Role.VIEWER)


def made(url: str, clock: VirtualClock, **settings: Any) -> Audit:
    """An audit on a database that has its tables."""
    given = {"database_url": url, "internal_secret": SECRET, "signing_key": KEY, **settings}
    return build(AuditSettings.model_validate(given), clock=clock)


@asynccontextmanager
async def unguarded(audit: Audit) -> AsyncGenerator[AsyncSession]:
    """A session of somebody whom no guard holds: Postgres' superuser, or who has SQLite's file."""
    guarded = ("ledger", "checkpoints")
    async with audit.service.database.session() as session:
        if audit.service.database.is_postgres:
            await session.execute(text("SET LOCAL session_replication_role = replica"))
            yield session
            return
        for statement in [each for table in guarded for each in sqlite_lift_statements(table)]:
            await session.execute(text(statement))
        yield session
        for statement in [each for table in guarded for each in sqlite_guard_statements(table)]:
            await session.execute(text(statement))


async def verify(audit: Audit, *, full: bool = True) -> Verdict:
    """A walk over the ledger, to its end."""
    progress = await walk(audit, full=full).run()
    assert progress.ended
    return progress.verdict


def walk(audit: Audit, *, full: bool = True, budget: int | None = None) -> Verification:
    """A walk that has not begun."""
    service = audit.service
    return Verification(service.database, audit.signer, service.clock, full=full, budget=budget)


def message(
    body: Body | None = None,
    *,
    vm: UUID | None = None,
    operation: UUID | None = None,
    time: datetime | None = None,
    project: str = "demo",
    actor: str = "key:test",
) -> Message[Body]:
    return Message(
        id=new_id(),
        source="hostler/test",
        time=time or VirtualClock().now,
        subject=str(vm or new_id()),
        project_id=project,
        account="simulator",
        actor=actor,
        operation_id=operation,
        request_id="req-1",
        data=body or Started(command="vm.stop.v1", attempt=1),
    )


def at(said: Message[Body], partition: int = 0, offset: int = 0) -> Record:
    record = encode(said)
    return Record(record.topic, record.key, record.headers, record.value, partition, offset)


def heard(said: Message[Body], partition: int = 0) -> tuple[Heard, Record]:
    record = at(said, partition)
    return read(record), record


async def deliver(audit: Audit, *records: Record) -> None:
    """One batch from Kafka, of one topic."""
    (consumer,) = [c for c in audit.service.consumers if c.topic.name == records[0].topic]
    await consumer.consume(records)


async def ledger(audit: Audit) -> Sequence[RowMapping]:
    async with audit.service.database.reading() as session:
        return (await session.execute(select(LEDGER).order_by(LEDGER.c.id))).mappings().all()


def token(clock: VirtualClock, caller: Caller = CALLER, audience: str = "audit") -> str:
    return Vouching(SecretStr(SECRET)).sign(caller, audience, clock())


async def ask(
    audit: Audit, path: str, bearer: str, params: Any = None, **headers: str
) -> httpx.Response:
    transport = httpx.ASGITransport(audit.app)
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    async with httpx.AsyncClient(transport=transport, base_url="http://audit") as client:
        return await client.get(path, params=params, headers=raw)
