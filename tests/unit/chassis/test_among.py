"""What `among` promises: `IN`, in one text for any number of values, on both databases."""

from uuid import UUID, uuid4

from sqlalchemy import Connection, event, not_, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among, among_named
from chassis.rows import insert_into
from chassis.tables import INBOX
from tests.chassis_toys import NOW, opened

IDS = [uuid4() for _ in range(5)]
MINE = select(INBOX.c.message_id)


async def found(session: AsyncSession, ids: list[UUID]) -> set[UUID]:
    return set(await session.scalars(MINE.where(among(INBOX.c.message_id, ids))))


async def test_rows_are_found_by_any_number_of_values_with_one_text(database_url: str) -> None:
    texts: list[str] = []

    def note(_connection: Connection, _cursor: object, text: str, *_: object) -> None:
        texts.append(text)

    async with opened(database_url) as database, database.session() as session:
        rows = [{"message_id": each, "taken_at": NOW} for each in IDS]
        await insert_into(session, (INBOX, rows))
        event.listen(database.engine.sync_engine, "before_cursor_execute", note)
        for many in range(len(IDS)):
            assert await found(session, [*IDS[:many], uuid4()]) == set(IDS[:many])
        assert await found(session, []) == set()
        assert len(set(texts)) == 1


async def test_it_can_be_negated_named_and_joined_to_other_conditions(database_url: str) -> None:
    async with opened(database_url) as database, database.session() as session:
        rows = [{"message_id": each, "taken_at": NOW} for each in IDS]
        await insert_into(session, (INBOX, rows))
        others = MINE.where(not_(among(INBOX.c.message_id, IDS[:2])), INBOX.c.taken_at <= NOW)
        assert set(await session.scalars(others)) == set(IDS[2:])
        named = MINE.where(among_named(INBOX.c.message_id, "ids"))
        assert set(await session.scalars(named, {"ids": IDS[3:]})) == set(IDS[3:])
        texts = [str(each) for each in IDS[3:]]
        assert set(await session.scalars(named, {"ids": texts})) == set(IDS[3:])
