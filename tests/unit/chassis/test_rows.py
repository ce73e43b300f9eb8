"""What writing many rows at once promises: all or none, in order, as they were, on both databases."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from chassis.database import insert
from chassis.rows import Row, insert_into, insert_returning, update_rows
from chassis.tables import INBOX, LEASES, OUTBOX
from tests.chassis_toys import NOW, opened

ODD = ["", "it's", 'a "quote"', "\\x41", "%s :name $1", "null", "Ünï\u2028code 🐳", "\t\n\r"]


def odd(value: str) -> Row:
    body = b"\x00\xff" + value.encode()
    headers = {value: [value, None, 1.5, True, {"deep": value}]}
    return {"topic": value, "key": value, "headers": headers, "body": body, "said_at": NOW}


async def test_rows_of_several_tables_go_in_together_in_order_and_come_back_as_they_were(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        rows = [odd(value) for value in ODD]
        lease = {"name": "odd", "token": uuid4(), "until": NOW + timedelta(microseconds=1)}
        async with database.session() as session:
            await insert_into(session, (OUTBOX, rows), (INBOX, []), (LEASES, [lease]))
        async with database.reading() as session:
            found = (await session.execute(select(OUTBOX).order_by(OUTBOX.c.id))).all()
            leases = (await session.execute(select(LEASES).where(LEASES.c.name == "odd"))).all()
        assert [{name: getattr(row, name) for name in rows[0]} for row in found] == rows
        assert [tuple(row) for row in leases] == [tuple(lease.values())]


async def test_of_rows_some_of_which_are_there_those_that_went_in_are_told(
    database_url: str,
) -> None:
    async with opened(database_url) as database, database.session() as session:
        new = insert(session, OUTBOX).on_conflict_do_nothing().returning(OUTBOX.c.id, OUTBOX.c.body)
        rows = [{"id": number, **odd(value)} for number, value in enumerate(ODD, 1)]
        first = await insert_returning(session, new, rows[::2])
        assert [tuple(row) for row in first] == [(row["id"], row["body"]) for row in rows[::2]]
        others = await insert_returning(session, new, rows)
        assert [row.id for row in others] == [row["id"] for row in rows[1::2]]
        kept = (await session.execute(select(OUTBOX).order_by(OUTBOX.c.id))).all()
        assert [{name: getattr(row, name) for name in rows[0]} for row in kept] == rows


async def test_of_rows_that_go_in_together_one_that_cannot_keeps_out_all(database_url: str) -> None:
    async with opened(database_url) as database:
        twice = [{"name": "same", "token": uuid4(), "until": NOW}] * 2
        with pytest.raises(IntegrityError):
            async with database.session() as session:
                await insert_into(session, (OUTBOX, [odd("a")]), (LEASES, twice))
        async with database.reading() as session:
            assert await session.scalar(select(func.count()).select_from(OUTBOX)) == 0


async def test_many_rows_are_changed_by_their_keys_and_others_stay(database_url: str) -> None:
    async with opened(database_url) as database:
        async with database.session() as session:
            await insert_into(session, (OUTBOX, [odd(value) for value in ODD]))
        async with database.session() as session:
            ids = list(await session.scalars(select(OUTBOX.c.id).order_by(OUTBOX.c.id)))
            changes = [{"id": i, **odd(f"new {v}")} for i, v in zip(ids, ODD, strict=True)][1:]
            await update_rows(session, OUTBOX, "id", [*changes, {**changes[0], "id": 10_000}])
            await update_rows(session, OUTBOX, "id", [])
        async with database.reading() as session:
            found = (await session.execute(select(OUTBOX).order_by(OUTBOX.c.id))).all()
        wanted = [{"id": ids[0], **odd(ODD[0])}, *changes]
        assert [{name: getattr(row, name) for name in wanted[0]} for row in found] == wanted
