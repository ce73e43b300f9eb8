"""Dead letters as the gateway keeps them: who may see which, and how they are given back."""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, insert
from chassis.dead_letters import buried
from chassis.errors import Terminal
from chassis.identity import Caller
from chassis.ids import new_id
from chassis.leases import Clock
from chassis.outbox import say
from contracts.access.events import LettersReplayed
from contracts.dead_letter import DeadLetter, Replay
from contracts.errors import ErrorCode
from contracts.message import Body, Message
from services.gateway.tables import DEAD_LETTERS

TIDY_SECONDS = 600.0


@dataclass(frozen=True)
class LetterFilter:
    """Which letters."""

    consumer: str | None = None
    topic: str | None = None
    type: str | None = None

    def narrow(self, query: Select[Any]) -> Select[Any]:
        """The same as conditions of a query."""
        for name in ("consumer", "topic", "type"):
            if (value := getattr(self, name)) is not None:
                query = query.where(DEAD_LETTERS.c[name] == value)
        return query


class DeadLetters:
    """The letters of the projects that the settings name. An admin sees those of their project.

    Letters that name no such project, or none at all, are seen by admins of the first project:
    nobody can tell whose they are.
    """

    def __init__(
        self, database: Database, clock: Clock, projects: Sequence[str], retention: timedelta
    ) -> None:
        self.database = database
        self.clock = clock
        self.projects = tuple(projects)
        self.retention = retention

    async def on_letter(self, session: AsyncSession, message: Message[Body]) -> None:
        """Keep a letter whole."""
        if isinstance(message.data, DeadLetter):
            row = insert(session, DEAD_LETTERS).values(_row(message, message.data))
            await session.execute(row.on_conflict_do_nothing())

    async def run(self) -> None:
        """Forget letters that are older than they are kept, now and then."""
        while True:
            async with self.database.session() as session:
                await self.forget(session)
            await asyncio.sleep(TIDY_SECONDS)

    async def forget(self, session: AsyncSession) -> None:
        """Drop what is older than it is kept."""
        old = DEAD_LETTERS.c.buried_at < self.clock() - self.retention
        await session.execute(delete(DEAD_LETTERS).where(old))

    def seen_by(self, caller: Caller, wanted: LetterFilter) -> Select[Any]:
        """The query for the letters that a caller may see, not sorted yet."""
        return wanted.narrow(select(DEAD_LETTERS).where(self._visible(caller)))

    async def find(self, session: AsyncSession, caller: Caller, letter_id: UUID) -> Row[Any]:
        """One letter; Terminal(NOT_FOUND) if there is none that the caller may see."""
        query = self.seen_by(caller, LetterFilter()).where(DEAD_LETTERS.c.id == letter_id)
        row = (await session.execute(query)).first()
        if row is None:
            raise Terminal(ErrorCode.NOT_FOUND)
        return row

    async def not_replayed(
        self, session: AsyncSession, caller: Caller, wanted: LetterFilter, limit: int
    ) -> Sequence[Row[Any]]:
        """The oldest letters that were never replayed; two who ask at once get different ones."""
        query = self.seen_by(caller, wanted).where(DEAD_LETTERS.c.replayed_at.is_(None))
        query = query.order_by(DEAD_LETTERS.c.buried_at, DEAD_LETTERS.c.id).limit(limit)
        return (await session.execute(query.with_for_update(skip_locked=True))).all()

    async def replay(
        self, session: AsyncSession, caller: Caller, request_id: str, rows: Sequence[Row[Any]]
    ) -> None:
        """Give letters back to the consumers that gave up on them, and say who did."""
        for row in rows:
            await say(session, self._replay(caller, request_id, row))
        ids = tuple(row.id for row in rows)
        if ids:
            replayed = LettersReplayed(letters=ids)
            await say(session, self._message(caller, request_id, caller.project_id, replayed))
            marks = {"replays": DEAD_LETTERS.c.replays + 1, "replayed_at": self.clock()}
            mine = DEAD_LETTERS.c.id.in_(ids)
            await session.execute(update(DEAD_LETTERS).where(mine).values(marks))

    def _visible(self, caller: Caller) -> ColumnElement[bool]:
        mine = DEAD_LETTERS.c.project_id == caller.project_id
        if caller.project_id != self.projects[0]:
            return mine
        return mine | DEAD_LETTERS.c.project_id.not_in(self.projects)

    def _replay(self, caller: Caller, request_id: str, row: Row[Any]) -> Message[Body]:
        letter = _letter(row)
        subject = row.key or f"{row.topic}/{row.partition}"
        return self._message(
            caller, request_id, subject, Replay(letter_id=row.id, letter=letter), row.project_id
        )

    def _message(
        self, caller: Caller, request_id: str, subject: str, data: Body, project_id: str = ""
    ) -> Message[Body]:
        return Message(
            id=new_id(),
            source="hostler/gateway",
            time=self.clock(),
            subject=subject,
            project_id=project_id or caller.project_id,
            actor=caller.actor,
            request_id=request_id,
            override=caller.override,
            data=data,
        )


def _row(message: Message[Body], letter: DeadLetter) -> dict[str, Any]:
    try:
        value = buried(letter).value
    except ValueError:
        value = b""  # A letter of somebody else's making: its reason and headers are shown.
    told = letter.model_dump(exclude={"type", "value_base64"})
    return {
        **told,
        "id": message.id,
        "project_id": message.project_id,
        "type": letter.headers.get("ce_type", ""),
        "value": value,
        "buried_at": message.time,
        "replays": 0,
    }


def _letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        consumer=row.consumer,
        reason=row.reason,
        key=row.key,
        headers=row.headers,
        value_base64=base64.b64encode(row.value).decode(),
    )
