"""How rows get into the ledger: by COPY on Postgres, in the session's own transaction."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from psycopg import AsyncConnection
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.tables import LEDGER

_NULL = "\\N"
_BACKSLASH = "\\"
_IDS = ("message_id", "vm_id", "operation_id")
_SAID = ("type", "source", "subject", "project_id", "account", "actor", "request_id")
"""Texts of others, in which anything may stand."""
_COLUMNS = (
    *_SAID,
    *("chain", "position", "message_id", "time", "vm_id", "operation_id"),
    *("data", "recorded_at", "previous_hash", "hash"),
)
_COPY = f"COPY ledger ({', '.join(_COLUMNS)}) FROM STDIN".encode()
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def is_postgres(session: AsyncSession) -> bool:
    """Whether the session's database is Postgres."""
    return session.get_bind().dialect.name == "postgresql"


async def write(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that have all columns but `id`, which the database gives in their order.

    Their ids are texts.
    """
    if not is_postgres(session):
        await session.execute(LEDGER.insert(), [_typed(row) for row in rows])
        return
    connection = await (await session.connection()).get_raw_connection()
    driver = cast("AsyncConnection[Any]", connection.driver_connection)
    text = "".join([_line(row) for row in rows])
    async with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
        await copy.write(text)


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, **{name: UUID(row[name]) if row[name] else None for name in _IDS}}


def _line(row: dict[str, Any]) -> str:
    """A row in COPY's text format. JSON has no line breaks and no tabs, but backslashes."""
    said = [row[name] for name in _SAID]
    together = "".join(said)
    if "\\" in together or not together.isprintable():
        said = [text.translate(_ESCAPED) for text in said]
    data: str = row["data"]
    return (
        f"{chr(9).join(said)}\t{row['chain']}\t{row['position']}\t{row['message_id']}\t{row['time']}"
        f"\t{row['vm_id'] or _NULL}\t{row['operation_id'] or _NULL}"
        f"\t{data.replace(_BACKSLASH, _BACKSLASH * 2)}\t{row['recorded_at']}"
        f"\t{row['previous_hash']}\t{row['hash']}\n"
    )
