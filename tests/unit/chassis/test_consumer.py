import asyncio
from secrets import token_hex

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from chassis import consumer as consuming
from chassis.consumer import Consumer
from chassis.tables import LEASES
from chassis.testing import VirtualClock, said
from chassis.wire import Record, encode
from contracts.dead_letter import DeadLetter
from contracts.message import Body, Message
from contracts.topics import VM_COMMANDS
from tests.chassis_toys import NOW, command, opened


class Hearer:
    def __init__(self) -> None:
        self.heard: list[Message[Body]] = []
        self.outages = 0
        self.bug_on: Message[Body] | None = None

    async def __call__(self, session: AsyncSession, message: Message[Body]) -> None:
        if self.outages:
            self.outages -= 1
            raise OperationalError("x", {}, Exception("server closed the connection"))
        if message == self.bug_on:
            raise RuntimeError("a bug")
        self.heard.append(message)


async def test_poison_goes_to_the_dead_letters_and_what_is_behind_it_is_handled(
    database_url: str,
) -> None:
    hearer, first, second = Hearer(), command(), command()
    poison = Record("vm.commands", "k", {"ce_type": "nonsense"}, b"{", partition=2, offset=9)
    async with opened(database_url) as database:
        consumer = Consumer("toy", VM_COMMANDS, hearer, database, VirtualClock())
        await consumer.consume([encode(first), poison, encode(second)])
        assert hearer.heard == [first, second]
        (letter,) = await said(database)
        assert isinstance(letter.data, DeadLetter)
        assert (letter.data.partition, letter.data.offset) == (2, 9)
        assert letter.data.consumer == "hostler.toy"


async def test_a_message_on_which_the_handler_fails_each_time_becomes_a_dead_letter(
    database_url: str,
) -> None:
    hearer, first, second = Hearer(), command(), command()
    hearer.bug_on = first
    async with opened(database_url) as database:
        consumer = Consumer("toy", VM_COMMANDS, hearer, database, VirtualClock())
        await consumer.consume([encode(first), encode(second)])
        assert hearer.heard == [second]
        (letter,) = await said(database)
        assert isinstance(letter.data, DeadLetter)
        assert "a bug" in letter.data.reason


async def test_while_the_database_is_out_the_consumer_waits_and_loses_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearer, message = Hearer(), command()
    hearer.outages = 2
    monkeypatch.setattr(consuming, "OUTAGE_SECONDS", 0.01)
    async with opened(database_url) as database:
        consumer = Consumer("toy", VM_COMMANDS, hearer, database, VirtualClock())
        await consumer.consume([encode(message)])
        assert await said(database) == []
    assert hearer.heard == [message]


async def test_a_message_delivered_again_is_handled_once(database_url: str) -> None:
    hearer, message = Hearer(), command()
    async with opened(database_url) as database:
        consumer = Consumer("toy", VM_COMMANDS, hearer, database, VirtualClock())
        await consumer.consume([encode(message), encode(message)])
        await consumer.consume([encode(message)])
    assert hearer.heard == [message]


async def test_a_record_that_no_index_takes_becomes_a_dead_letter_and_blocks_nothing(
    postgres_url: str,
) -> None:
    """Postgres' word for it (54000) is an OperationalError, as that for an outage is."""
    huge, fine = command(), command()
    heard: list[Message[Body]] = []

    async def handle(session: AsyncSession, message: Message[Body]) -> None:
        name = token_hex(10_000) if message == huge else "fine"
        lease = {"name": name, "token": message.id, "until": NOW}
        await session.execute(LEASES.insert(), lease)
        heard.append(message)

    async with opened(postgres_url) as database, asyncio.timeout(30):
        consumer = Consumer("toy", VM_COMMANDS, handle, database, VirtualClock())
        await consumer.consume([encode(huge), encode(fine)])
        assert heard == [fine]
        (letter,) = await said(database)
        assert isinstance(letter.data, DeadLetter)
