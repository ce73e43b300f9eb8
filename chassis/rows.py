"""Many rows at once: on Postgres what a transaction inserts, or updates, is one statement.

A round trip and an execution by SQLAlchemy cost more than what they carry, so the rows of a
statement are one parameter, a JSON text.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, cast

from pydantic_core import to_json
from sqlalchemy import Insert, Table, TextClause, TextualSelect, and_, bindparam, text, update
from sqlalchemy import Row as Found
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import is_postgres

Row = dict[str, Any]
Rows = tuple[Table, Sequence[Row]]
Result = Sequence[Found[Any]]


async def insert_into(session: AsyncSession, *rows_of: Rows) -> None:
    """Insert rows into tables; the rows of one have the same columns, and are taken in order."""
    some = [(table, rows) for table, rows in rows_of if rows]
    if not some:
        return
    if not is_postgres(session):
        for table, rows in some:
            await session.execute(table.insert(), rows)
        return
    statement = _insert_of(tuple((table, tuple(rows[0])) for table, rows in some))
    await session.execute(statement, {table.name: _as_json(rows) for table, rows in some})


@cache
def _insert_of(columns_of: tuple[tuple[Table, tuple[str, ...]], ...]) -> TextClause:
    """`WITH "t" AS (INSERT INTO …), …`: each table's rows are the parameter of its name."""
    parts: list[str] = []
    for table, columns in columns_of:
        named, given = _named(columns), _given(table, columns, table.name)
        parts.append(f'"{table.name}" AS (INSERT INTO "{table.name}" ({named}) {given})')
    return text(f"WITH {', '.join(parts)} SELECT")


async def insert_returning(session: AsyncSession, statement: Insert, rows: Sequence[Row]) -> Result:
    """Execute `INSERT … ON CONFLICT … RETURNING …` with rows, at least one: what it returns."""
    if not is_postgres(session):
        return (await session.execute(statement, rows)).all()
    table, columns = cast("Table", statement.table), tuple(rows[0])
    given = statement.from_select(columns, _select_of(table, columns))
    return (await session.execute(given, {"rows": _as_json(rows)})).all()


@cache
def _select_of(table: Table, columns: tuple[str, ...]) -> TextualSelect:
    """The rows that are the parameter `rows`."""
    given = text(_given(table, columns, "rows"))
    return given.columns(*[table.c[each] for each in columns])


async def update_rows(
    session: AsyncSession, table: Table, key: str | tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Set what rows hold besides `key`, by which theirs is found; all of them the same columns."""
    if not rows:
        return
    keys = (key,) if isinstance(key, str) else key
    if is_postgres(session):
        await session.execute(_update_of(table, keys, tuple(rows[0])), {"rows": _as_json(rows)})
        return
    values: Row = {name: bindparam(name) for name in rows[0] if name not in keys}
    found = and_(*(table.c[each] == bindparam(f"its_{each}") for each in keys))
    theirs = [{f"its_{k}" if k in keys else k: v for k, v in row.items()} for row in rows]
    await session.execute(update(table).where(found).values(values), theirs)


@cache
def _update_of(table: Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> TextClause:
    """`UPDATE "t" SET "a" = new."a", … FROM … AS new`: the rows are the parameter `rows`."""
    name = f'"{table.name}"'
    new = ", ".join(f'"{column}" = new."{column}"' for column in columns if column not in keys)
    theirs = " AND ".join(f'{name}."{key}" = new."{key}"' for key in keys)
    given = _given(table, columns, "rows")
    return text(f"UPDATE {name} SET {new} FROM ({given}) AS new WHERE {theirs}")  # noqa: S608 - names of our own tables


def _given(table: Table, columns: Sequence[str], parameter: str) -> str:
    """`SELECT` of the rows that are a parameter."""
    source = f'json_populate_recordset(NULL::"{table.name}", CAST(:{parameter} AS json))'
    return f"SELECT {_named(columns)} FROM {source}"  # noqa: S608 - names of our own tables


def _named(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def _as_json(rows: Sequence[Row]) -> str:
    return to_json(
        [{k: _hex(v) if v.__class__ is bytes else v for k, v in row.items()} for row in rows]
    ).decode()


def _hex(value: Any) -> str:
    """Bytes as Postgres reads them from text."""
    return f"\\x{value.hex()}"
