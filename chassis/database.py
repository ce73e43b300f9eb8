"""A service's database: its engine, and the session scopes, which alone commit.

Postgres and SQLite (one file per service) are equals, but for what their names say: `reading` may
go to a replica later, and on SQLite one writer at a time holds the file.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import psycopg
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Insert,
    Table,
    event,
    literal_column,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

IDLE_SECONDS = 1.0
_Acting = tuple[str, ...] | None
_ACTING: ContextVar[_Acting] = ContextVar("hostler_acting", default=None)
_DECLARED = "hostler.acting"
_DECLARE = (
    "SELECT set_config('hostler.project_id', %s, false), set_config('hostler.bypass', %s, false)"
)

Json = JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True),  # pyright: ignore[reportUnknownMemberType]
    "postgresql",
)
"""A JSON column: JSONB on Postgres."""


class Instant(TypeDecorator[datetime]):
    """A moment in UTC, timezone-aware in Python on every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without a zone: nobody could say what it means."""
        if value is not None and value.tzinfo is None:
            raise ValueError("times carry a zone: use datetime.now(UTC)")
        if value is None or value.tzinfo is UTC:
            return value
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back that SQLite does not keep."""
        if value is None or value.tzinfo is UTC:
            return value
        return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)


def act_for(*projects: str) -> Token[_Acting]:
    """From here on, in this task, sessions are these projects' alone: rows of others are not there.

    On Postgres, where tables have row-level security; see docs/decisions/0035.
    """
    return _ACTING.set(projects)


def act_as_service() -> Token[_Acting]:
    """From here on, in this task, sessions are the service's own: rows of all projects are there."""
    return _ACTING.set(None)


def act_again(token: Token[_Acting]) -> None:
    """Sessions are whose they were before."""
    _ACTING.reset(token)


@contextmanager
def as_service() -> Generator[None]:
    """Within, sessions are the service's own."""
    token = act_as_service()
    try:
        yield
    finally:
        act_again(token)


@contextmanager
def as_projects(*projects: str) -> Generator[None]:
    """Within, sessions are these projects' alone."""
    token = act_for(*projects)
    try:
        yield
    finally:
        act_again(token)


def is_outage(error: BaseException) -> bool:
    """Whether the database, not the statement, is what failed: the same may work later.

    Postgres tells by SQLSTATE, whose classes psycopg does not sort so: a row that is too large for
    an index (54000) is its OperationalError too, and fails for ever.
    """
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if isinstance(error, DBAPIError) and (state := getattr(error.orig, "sqlstate", None)):
        return state[:2] in _OUTAGES or state in _OUTAGE_STATES
    if isinstance(error, OperationalError) and _is_sqlites_no(error.orig):
        return False
    return isinstance(
        error, OperationalError | InterfaceError | PoolTimeoutError | ConnectionError | OSError
    )


_OUTAGES = {"08", "28", "40", "53", "57", "58", "F0"}
"""Connection, login, a transaction to begin anew, resources, an operator's doing, the system, a
server that is configured anew. Login: its password is being changed."""
_OUTAGE_STATES = {"55P03", "55006", "25006", "3D000"}
"""A lock that was not had in time, a database that is being made or dropped, one that is read-only
since another one leads now, no such database yet."""
_SQLITES_NO = ("no such ", "too many ", "near ", "Expression tree ", "parser stack ")
"""How SQLite's words for a wrong statement begin: no such table, too many SQL variables, …"""


def _is_sqlites_no(error: BaseException | None) -> bool:
    return str(error).startswith(_SQLITES_NO)


def is_postgres(session: AsyncSession) -> bool:
    """Whether the session's database is Postgres."""
    return session.get_bind().dialect.name == "postgresql"


def insert(session: AsyncSession, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """An INSERT that knows ON CONFLICT on the session's database."""
    if is_postgres(session):
        return postgresql.insert(table)
    return sqlite.insert(table)


def excluded(*names: str) -> dict[str, ColumnElement[Any]]:
    """What the row that meets another one would have held, for `set_` and `where` of ON CONFLICT.

    As `insert(…).excluded`, which copies the table with all its columns for each statement.
    """
    return {name: literal_column(f"excluded.{name}") for name in names}


async def changed(session: AsyncSession, statement: Any) -> int:
    """Execute an INSERT, UPDATE or DELETE; how many rows it touched."""
    counted = cast("Insert", statement).execution_options(preserve_rowcount=True)
    result = await session.execute(counted)
    return cast("int", getattr(result, "rowcount", 0))


class Database:
    """One service's schema on Postgres, or its file on SQLite."""

    def __init__(self, url: str, service: str, *, pool: int = 10) -> None:
        self.service = service
        self.said = asyncio.Event()
        """Set after each commit that left something in the outbox."""
        url = url.replace("{service}", service)
        self.engine = _engine(url, service, pool)
        # A connection that goes from one to the other is told so each time: they have their own.
        of_projects = _engine(url, service, pool) if self.is_postgres else self.engine
        self._pools = {False: _Pool.of(self.engine), True: _Pool.of(of_projects)}

    @property
    def is_postgres(self) -> bool:
        """Whether Postgres' own features can be had."""
        return self.engine.dialect.name == "postgresql"

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[AsyncSession]:
        """One transaction that may write: committed at the end, rolled back on an exception."""
        async with _session(self._pool.engine) as session:
            async with session.begin():
                yield session
            if session.info.pop("said", False):
                self.said.set()

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncSession]:
        """For reading; on Postgres each statement sees what is committed when it begins.

        No transaction is begun there: that would be two of three round trips.
        """
        async with _session(self._pool.reader) as session:
            yield session

    async def ping(self) -> None:
        """Raise unless the database answers."""
        async with self.reading() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Let go of all connections."""
        for pool in self._pools.values():
            await pool.engine.dispose()

    @property
    def _pool(self) -> "_Pool":
        return self._pools[_ACTING.get() is not None]


class _Pool(NamedTuple):
    engine: AsyncEngine
    reader: AsyncEngine

    @classmethod
    def of(cls, engine: AsyncEngine) -> "_Pool":
        if engine.dialect.name == "postgresql":
            return cls(engine, engine.execution_options(isolation_level="AUTOCOMMIT"))
        return cls(engine, engine.execution_options(reads=True))


class _Declared(Session):
    """Says whose it is to the database as soon as it has a connection."""


def _session(engine: AsyncEngine) -> AsyncSession:
    acting = _ACTING.get()
    return AsyncSession(
        engine, sync_session_class=_Declared, expire_on_commit=False, info={_DECLARED: acting}
    )


def _declare(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    """Tell Postgres whose rows there are, unless this connection was told the same last.

    Not per transaction: most connections go from one session of the same project to the next, and
    that would be a round trip for each. What never was told anything sees no rows.
    """
    if connection.dialect.name != "postgresql":
        return
    acting: _Acting = session.info[_DECLARED]
    if connection.info.get(_DECLARED, "nothing") == acting:
        return
    connection.info.pop(_DECLARED, None)
    said = ("", "on") if acting is None else ("\n".join(acting), "")
    connection.exec_driver_sql(_DECLARE, said).close()
    connection.info[_DECLARED] = acting


def _forget(connection: Connection) -> None:
    """What was told within a transaction that is rolled back, was not; one that broke is told anew."""
    if connection.invalidated:
        return
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.info.pop(_DECLARED, None)


event.listen(_Declared, "after_begin", _declare)


def _engine(url: str, service: str, pool: int) -> AsyncEngine:
    if make_url(url).get_backend_name() != "postgresql":
        return _sqlite_engine(url)
    engine = create_async_engine(
        url,
        pool_size=pool,
        pool_use_lifo=True,  # few connections in steady use, each of which has prepared it all
        max_overflow=0,
        pool_timeout=10,
        hide_parameters=True,
        connect_args={
            "options": f"-csearch_path={service} -ctimezone=UTC -cjit=off",
            "connect_timeout": 5,
            "application_name": f"hostler-{service}",
        },
    )
    _ping_what_was_idle(engine)
    event.listen(engine.sync_engine, "rollback", _forget)
    return engine


def _ping_what_was_idle(engine: AsyncEngine) -> None:
    """Ask a connection whether it lives before it is used, if it was idle for a while.

    One in steady use would pay a round trip each time. If the server went away meanwhile, the
    first statement fails, and with it the pool forgets every connection of before.
    """

    def rest(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["since"] = time.monotonic()

    def use(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("since", float("inf")) < IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except (psycopg.Error, OSError) as error:
            raise DisconnectionError from error

    event.listen(engine.sync_engine, "checkin", rest)
    event.listen(engine.sync_engine, "checkout", use)


class _EndsItsTransaction(sqlite3.Connection):
    """SQLite keeps a closed connection's transaction and its lock until its last statement is gone.

    A task that was cancelled may hold one in its traceback for minutes; see `sqlite3_close_v2`.
    """

    def close(self) -> None:
        """Roll back, then close."""
        if self.in_transaction:
            self.rollback()
        super().close()


def _sqlite_engine(url: str) -> AsyncEngine:
    """SQLite's engine; the file's folder is made, the file itself comes with the first use."""
    Path(make_url(url).database or "").absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        url, connect_args={"timeout": 30, "factory": _EndsItsTransaction}, hide_parameters=True
    )

    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    def begin(connection: Any) -> None:
        reads = connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", begin)
    return engine
