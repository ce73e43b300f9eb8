from sqlalchemy.ext.asyncio import AsyncSession

from chassis.consumer import Batch, Consumer
from chassis.outbox import OUTBOX
from chassis.testing import VirtualClock, said
from chassis.wire import Record, encode, received
from contracts.dead_letter import DeadLetter
from contracts.message import Body, Message
from contracts.topics import VM_COMMANDS
from tests.chassis_toys import command, opened


class Hearer:
    def __init__(self, bug_on: Message[Body] | None = None) -> None:
        self.batches: list[list[Message[Body]]] = []
        self.places: list[tuple[int, int]] = []
        self.bug_on = bug_on

    async def __call__(self, session: AsyncSession, batch: Batch) -> None:
        messages = [message for message, _ in batch]
        if self.bug_on in messages:
            raise RuntimeError("a bug")
        self.batches.append(messages)
        self.places += [(record.partition, record.offset) for _, record in batch]


def at(message: Message[Body], partition: int, offset: int) -> Record:
    record = encode(message)
    return Record(record.topic, record.key, record.headers, record.value, partition, offset)


async def test_a_batch_handler_gets_a_batch_at_once_with_each_messages_place(
    database_url: str,
) -> None:
    hearer, first, second = Hearer(), command(), command()
    async with opened(database_url) as database:
        consumer = Consumer("toy", VM_COMMANDS, None, database, VirtualClock(), handle_many=hearer)
        await consumer.consume([at(first, 3, 7), at(second, 4, 1), at(first, 3, 8)])
    assert hearer.batches == [[first, second, first]]
    assert hearer.places == [(3, 7), (4, 1), (3, 8)]


async def test_a_batch_that_fails_is_handled_one_by_one_and_the_bad_one_is_a_dead_letter(
    database_url: str,
) -> None:
    bad, good = command(), command()
    hearer = Hearer(bug_on=bad)
    poison = Record("vm.commands", "k", {"ce_type": "nonsense"}, b"{}", partition=2, offset=9)
    async with opened(database_url) as database:
        consumer = Consumer("toy", VM_COMMANDS, None, database, VirtualClock(), handle_many=hearer)
        await consumer.consume([encode(bad), poison, encode(good)])
        letters = [message.data for message in await said(database)]
    assert hearer.batches == [[good]]
    reasons = [letter.reason for letter in letters if isinstance(letter, DeadLetter)]
    assert reasons == ["RuntimeError: a bug", "unknown type 'nonsense'"]


async def test_a_record_with_nul_in_key_and_headers_is_a_dead_letter_on_every_database(
    database_url: str,
) -> None:
    hearer, record = Hearer(), encode(command())
    headers = [(name, text.encode()) for name, text in record.headers.items()]
    hostile = received(
        "vm.commands", 0, 0, b"a\0b", [*headers, ("ce_subject", b"\0")], record.value
    )
    async with opened(database_url) as database:
        consumer = Consumer("toy", VM_COMMANDS, None, database, VirtualClock(), handle_many=hearer)
        await consumer.consume([hostile])
        async with database.reading() as session:
            (row,) = (await session.execute(OUTBOX.select())).all()
    assert hearer.batches == []
    assert row.key == "a\\x00b"
