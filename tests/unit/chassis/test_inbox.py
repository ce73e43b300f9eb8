import pytest

from chassis.inbox import take, take_many
from tests.chassis_toys import NOW, command, opened


async def test_of_many_messages_those_that_were_taken_before_are_told_apart(
    database_url: str,
) -> None:
    first, second, third = command(), command(), command()
    async with opened(database_url) as database:
        async with database.session() as session:
            assert await take(session, first.id, NOW)
        async with database.session() as session:
            new = await take_many(session, [third, first, second, second], NOW)
            assert new == {second.id, third.id}
        async with database.session() as session:
            assert await take_many(session, [second, first], NOW) == set()
            assert await take_many(session, [], NOW) == set()


async def test_what_a_failed_transaction_took_can_be_taken_again(database_url: str) -> None:
    message = command()
    async with opened(database_url) as database:
        with pytest.raises(ZeroDivisionError):
            async with database.session() as session:
                assert await take_many(session, [message], NOW) == {message.id}
                _ = 1 // 0
        async with database.session() as session:
            assert await take_many(session, [message], NOW) == {message.id}


async def test_a_thousand_messages_are_taken_at_once(database_url: str) -> None:
    messages = [command() for _ in range(1000)]
    async with opened(database_url) as database, database.session() as session:
        assert len(await take_many(session, messages, NOW)) == 1000
