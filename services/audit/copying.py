"""How rows get into the ledger: by COPY on Postgres, in the session's own transaction."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any, cast
from uuid import UUID

from psycopg import AsyncConnection
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import is_postgres
from services.audit.tables import LEDGER

_NULL = "\\N"
_BACKSLASH = "\\"
_AT_ONCE = 200
_IDS = ("message_id", "vm_id", "operation_id")
_TIMES = ("time", "recorded_at")
_SAID = (
    *("type", "source", "subject", "project_id", "account", "actor", "request_id"),
    *("address", "client", "credential", "permission"),
)
"""Texts of others, in which anything may stand."""
_COLUMNS = (
    *_SAID,
    *("chain", "position", "message_id", "time", "vm_id", "operation_id"),
    *("data", "recorded_at", "previous_hash", "hash"),
)
_COPY = f"COPY ledger ({', '.join(_COLUMNS)}) FROM STDIN".encode()

Row = dict[str, Any]
"""A row of the ledger, by column."""

_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


async def write(session: AsyncSession, rows: Iterator[Row]) -> None:
    """Insert rows that have all columns but `id`, which the database gives in their order.

    Their ids and times are texts. Rows are asked for as they are sent, some at a time: while
    Postgres stores some of them, the next are made.
    """
    if not is_postgres(session):
        await session.execute(LEDGER.insert(), [_typed(row) for row in rows])
        return
    connection = await (await session.connection()).get_raw_connection()
    driver = cast("AsyncConnection[Any]", connection.driver_connection)
    async with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
        while some := "".join([_line(row) for row in islice(rows, _AT_ONCE)]):
            await copy.write(some)


def _typed(row: Row) -> Row:
    ids = {name: UUID(row[name]) if row[name] else None for name in _IDS}
    return {**row, **ids, **{name: datetime.fromisoformat(row[name]) for name in _TIMES}}


def _line(row: Row) -> str:
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
