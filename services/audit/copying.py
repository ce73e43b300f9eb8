"""How rows get into the ledger: by COPY on Postgres, in the session's own transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from psycopg import AsyncConnection
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.tables import LEDGER

COLUMNS = tuple(column.name for column in LEDGER.columns if column.name != "id")
_COPY = f"COPY ledger ({', '.join(COLUMNS)}) FROM STDIN".encode()
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_ESCAPED = str.maketrans(_ESCAPES)


def is_postgres(session: AsyncSession) -> bool:
    """Whether the session's database is Postgres."""
    return session.get_bind().dialect.name == "postgresql"


async def write(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that have all columns but `id`, which the database gives in their order."""
    if not is_postgres(session):
        await session.execute(LEDGER.insert(), rows)
        return
    connection = await (await session.connection()).get_raw_connection()
    driver = cast("AsyncConnection[Any]", connection.driver_connection)
    text = "".join(["\t".join([_field(row[name]) for name in COLUMNS]) + "\n" for row in rows])
    async with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
        await copy.write(text)


def _field(value: object) -> str:
    """A value in COPY's text format."""
    match value:
        case str():
            return value.translate(_ESCAPED) if _has_escapes(value) else value
        case None:
            return "\\N"
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def _has_escapes(text: str) -> bool:
    return any(c in text for c in _ESCAPES)
