import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from chassis import database as database_module
from chassis.database import Database, Instant, is_outage
from chassis.inbox import forget, take
from chassis.leases import NamedLease
from chassis.outbox import pending, say
from chassis.tables import INBOX, OUTBOX
from chassis.testing import VirtualClock, said
from tests.chassis_toys import NOW, command, opened


async def test_a_message_is_said_with_its_transaction_or_not_at_all(database_url: str) -> None:
    async with opened(database_url) as database:
        first = command()
        async with database.session() as session:
            await say(session, first)
        with pytest.raises(RuntimeError):
            async with database.session() as session:
                await say(session, command())
                raise RuntimeError
        assert database.said.is_set()
        assert await said(database) == [first]


async def test_messages_wait_in_the_order_in_which_they_were_said(database_url: str) -> None:
    async with opened(database_url) as database:
        messages = [command() for _ in range(20)]
        async with database.session() as session:
            await say(session, *messages[:10])
            await say(session, *messages[10:])
        async with database.reading() as session:
            assert await pending(session) == (20, NOW)
        assert await said(database) == messages


async def test_a_message_that_comes_twice_is_taken_once(database_url: str) -> None:
    async with opened(database_url) as database:
        message = command()
        async with database.session() as session:
            assert await take(session, message.id, NOW)
            assert not await take(session, message.id, NOW)
        async with database.session() as session:
            assert not await take(session, message.id, NOW)


async def test_what_was_taken_long_ago_is_forgotten(database_url: str) -> None:
    async with opened(database_url) as database:
        async with database.session() as session:
            await take(session, command().id, NOW)
            await take(session, command().id, NOW + timedelta(days=2))
            assert await forget(session, NOW + timedelta(days=1)) == 1
        async with database.reading() as session:
            assert await session.scalar(select(func.count()).select_from(INBOX)) == 1


async def test_one_process_at_a_time_holds_a_lease(database_url: str) -> None:
    clock = VirtualClock()
    async with opened(database_url) as database:
        mine, other = (NamedLease(database, "x", clock, timedelta(seconds=5)) for _ in range(2))
        assert await mine.hold()
        assert not await other.hold()
        clock.advance(seconds=4)
        assert await mine.hold(), "the holder renews it"
        clock.advance(seconds=4)
        assert not await other.hold(), "it was renewed"
        clock.advance(seconds=2)
        assert await other.hold(), "a holder that died loses it"
        assert not await mine.hold()


async def test_a_lease_given_back_is_free_at_once(database_url: str) -> None:
    clock = VirtualClock()
    async with opened(database_url) as database:
        mine, other = (NamedLease(database, "x", clock, timedelta(seconds=5)) for _ in range(2))
        assert await mine.hold()
        await mine.release()
        assert await other.hold()
        await mine.release()
        clock.advance(seconds=3)
        assert await other.hold(), "only the holder can give it back"


async def test_times_keep_their_moment_and_need_a_zone(database_url: str) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))
    async with opened(database_url) as database:
        async with database.session() as session:
            await say(session, command().model_copy(update={"time": elsewhere}))
        async with database.reading() as session:
            stored = await session.scalar(select(OUTBOX.c.said_at))
        assert stored == NOW
        assert isinstance(stored, datetime)
        assert stored.tzinfo is UTC
        with pytest.raises(ValueError, match="zone"):
            Instant().process_bind_param(NOW.replace(tzinfo=None), database.engine.dialect)


async def test_a_database_that_cannot_be_reached_is_an_outage_and_a_bad_statement_is_not(
    postgres_url: str, sqlite_url: str
) -> None:
    async with opened(postgres_url) as database:
        with pytest.raises(Exception, match="nowhere") as bad:
            async with database.session() as session:
                await session.execute(select(func.nowhere()))
        assert not is_outage(bad.value)
    async with opened(sqlite_url) as database:
        with pytest.raises(Exception, match="nowhere") as bad:
            async with database.session() as session:
                await session.execute(text("SELECT nowhere FROM outbox"))
        assert not is_outage(bad.value)
    nowhere = Database("postgresql+psycopg://nobody@127.0.0.1:1/none", "toy")
    with pytest.raises(Exception) as gone:  # noqa: PT011 - whatever it is, it is judged next
        await nowhere.ping()
    assert is_outage(gone.value)
    await nowhere.close()


@pytest.mark.parametrize(
    ("state", "out"),
    [
        ("08006", True),
        ("40001", True),
        ("40P01", True),
        ("53300", True),
        ("55P03", True),
        ("57P01", True),
        ("58030", True),
        ("25006", True),
        ("54000", False),
        ("54011", False),
        ("22001", False),
        ("22P02", False),
        ("23505", False),
        ("42P01", False),
        ("55000", False),
    ],
)
def test_of_what_postgres_says_only_that_it_is_out_is_an_outage(state: str, *, out: bool) -> None:
    said = psycopg.errors.lookup(state)("so it says")
    assert is_outage(OperationalError("SELECT", {}, said)) is out


@pytest.mark.parametrize(
    ("words", "out"),
    [
        ("database is locked", True),
        ("unable to open database file", True),
        ("disk I/O error", True),
        ("too many SQL variables", False),
        ('near "SELEC": syntax error', False),
        ("no such table: nowhere", False),
    ],
)
def test_of_what_sqlite_says_only_that_it_is_out_is_an_outage(words: str, *, out: bool) -> None:
    assert is_outage(OperationalError("SELECT", {}, sqlite3.OperationalError(words))) is out


async def test_the_folder_of_a_sqlite_file_is_made(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/not/there/{{service}}.db"
    async with opened(url) as database:
        await database.ping()
    assert (tmp_path / "not" / "there" / "toy.db").exists()


async def test_a_connection_that_is_given_up_amid_a_transaction_holds_the_file_no_longer(
    sqlite_url: str,
) -> None:
    """As a cancelled task does it: its connection is closed while its traceback holds a cursor."""
    kept: list[object] = []
    async with opened(sqlite_url) as database, opened(sqlite_url) as other:
        with pytest.raises(asyncio.CancelledError):
            async with database.session() as session:
                connection = await session.connection()
                raw = (await connection.get_raw_connection()).driver_connection
                assert raw is not None
                kept.append(await raw.execute("SELECT 1"))
                await connection.invalidate()
                raise asyncio.CancelledError
        async with asyncio.timeout(5), other.session() as session:
            await say(session, command())
        assert kept
        assert len(await said(other)) == 1


async def test_a_connection_that_died_while_it_was_idle_is_not_used(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "IDLE_SECONDS", 0.0)
    async with opened(postgres_url) as database:
        async with database.reading() as session:
            mine = await session.scalar(text("SELECT pg_backend_pid()"))
        other = Database(postgres_url, "toy")
        async with other.reading() as session:
            await session.execute(text(f"SELECT pg_terminate_backend({mine})"))
        await other.close()
        async with database.session() as session:
            assert await session.scalar(text("SELECT pg_backend_pid()")) != mine


async def test_a_connection_that_dies_in_use_costs_one_statement_and_all_are_made_anew(
    postgres_url: str,
) -> None:
    async with opened(postgres_url) as database:
        async with database.reading() as one, database.reading() as two:
            pids = [await each.scalar(text("SELECT pg_backend_pid()")) for each in (one, two)]
        other = Database(postgres_url, "toy")
        async with other.reading() as session:
            for pid in pids:
                await session.execute(text(f"SELECT pg_terminate_backend({pid})"))
        await other.close()
        with pytest.raises(Exception) as gone:  # noqa: PT011 - whatever it is, it is judged next
            await database.ping()
        assert is_outage(gone.value)
        for _ in pids:
            await database.ping()


async def test_a_read_sees_what_was_committed_before_it_without_a_transaction_of_its_own(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        async with database.reading() as session:
            await session.execute(select(OUTBOX))
        async with database.session() as session:
            await say(session, command())
        async with database.reading() as session:
            assert len((await session.execute(select(OUTBOX))).all()) == 1
