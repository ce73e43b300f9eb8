"""`column IN (values)` as a statement whose text is the same for any number of values.

With SQLAlchemy's `in_` it differs with each number: every connection prepares, and remembers, each
text that comes often, and so does Postgres.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import Boolean, Dialect, String, Uuid, bindparam
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


def among(
    column: ColumnElement[Any] | InstrumentedAttribute[Any], values: Iterable[Any]
) -> ColumnElement[bool]:
    """Whether the column's value is one of these; of none, if there are none."""
    return _Among(column, bindparam(None, list(values), type_=_Several(column.type)))


def among_named(
    column: ColumnElement[Any] | InstrumentedAttribute[Any], name: str
) -> ColumnElement[bool]:
    """As `among`, of the values that the statement is executed with under this name.

    UUIDs may be given as texts.
    """
    return _Among(column, bindparam(name, type_=_Several(column.type)))


class _Several(TypeDecorator[Sequence[Any]]):
    """Values of one type as one parameter: an array on Postgres, a JSON text on SQLite.

    UUIDs may be their texts, and are sent as such: psycopg takes longer over an array of them than
    Postgres does to read its text.
    """

    impl = String
    cache_ok = True

    def __init__(self, each: TypeEngine[Any]) -> None:
        super().__init__()
        self.each = each

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return postgresql.ARRAY(self.each)
        return String()

    def bind_processor(self, dialect: Dialect) -> Any:
        """How values become the parameter."""
        are_ids = isinstance(self.each, Uuid)
        if dialect.name == "postgresql":
            return _as_array if are_ids else super().bind_processor(dialect)
        if are_ids:
            return _as_json(_hex)
        return _as_json(self.each.dialect_impl(dialect).bind_processor(dialect))


def _as_array(ids: Iterable[UUID | str]) -> str:
    return f"{{{','.join(map(str, ids))}}}"


def _as_json(process: Callable[[Any], Any] | None) -> Callable[[Iterable[Any]], str]:
    def text(values: Iterable[Any]) -> str:
        return to_json([process(each) if process else each for each in values]).decode()

    return text


def _hex(each: UUID | str) -> str:
    """As UUIDs stand in SQLite."""
    return str(each).replace("-", "")


class _Among(FunctionElement[bool]):
    type = Boolean()
    inherit_cache = True
    _is_implicitly_boolean = True  # else SQLite compares it with 1, and uses no index


def _sides(element: _Among, compiler: SQLCompiler, **kw: Any) -> tuple[str, str]:
    column, values = (compiler.process(each, **kw) for each in element.clauses)
    return column, values


@compiles(_Among)
def _in_each(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = _sides(element, compiler, **kw)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both are placeholders


@compiles(_Among, "postgresql")
def _any_of(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = _sides(element, compiler, **kw)
    return f"{column} = ANY ({values})"
