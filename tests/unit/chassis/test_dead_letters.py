"""What a consumer gives up on is kept, up to a limit, and comes back when it is replayed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import BaseModel, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from chassis import consumer as consuming
from chassis.consumer import Batch, Consumer, Replayer
from chassis.database import Database
from chassis.dead_letters import KEPT_BYTES, Limit, burial_id, buried, dead_letter, reason_of
from chassis.ids import new_id
from chassis.testing import VirtualClock, said
from chassis.wire import Record, encode
from contracts.dead_letter import DeadLetter, Replay
from contracts.message import Body, Message
from contracts.topics import DEAD_LETTERS, VM_COMMANDS
from tests.chassis_toys import command, opened


class Hearer:
    """Fails on everything, or on some messages, until it is mended."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.heard: list[Message[Body]] = []
        self.tried = 0

    async def __call__(self, session: AsyncSession, message: Message[Body]) -> None:
        self.tried += 1
        if self.broken:
            raise RuntimeError("a bug")
        self.heard.append(message)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consuming, "STOPPED_SECONDS", (0.01, 0.02))


def limit(clock: VirtualClock, count: int = 3) -> Limit:
    return Limit(count, 0.5, timedelta(minutes=10), clock)


@asynccontextmanager
async def consuming_toy(
    url: str, hearer: Hearer, count: int = 3
) -> AsyncGenerator[tuple[Database, Consumer]]:
    clock = VirtualClock()
    async with opened(url) as database:
        made = Consumer("toy", VM_COMMANDS, hearer, database, clock, limit=limit(clock, count))
        yield database, made


def poison(offset: int) -> Record:
    return Record("vm.commands", "k", {"ce_type": "nonsense"}, b"{}", offset=offset)


async def letters(database: Database) -> list[DeadLetter]:
    return [m.data for m in await said(database) if isinstance(m.data, DeadLetter)]


async def until_stopped(consumer: Consumer) -> None:
    async with asyncio.timeout(30):
        while not consumer.stopped:
            await asyncio.sleep(0.01)


def replay(letter: DeadLetter) -> Message[Body]:
    return command(None, Replay(letter_id=new_id(), letter=letter))


def test_few_may_die_whatever_their_share_and_many_if_they_are_few_among_many() -> None:
    clock = VirtualClock()
    made = limit(clock)
    assert made.allows(3, 3)
    assert not made.allows(4, 4)
    assert made.allows(4, 9)
    made.note(100, 3)
    assert made.allows(10, 10)
    made.note(100, 97)
    assert not made.allows(1, 1)


def test_what_died_long_ago_no_longer_counts() -> None:
    clock = VirtualClock()
    made = limit(clock)
    made.note(3, 3)
    assert not made.allows(1, 1)
    clock.advance(minutes=11)
    assert made.allows(1, 1)


def test_once_stopped_time_alone_does_not_start_it_again() -> None:
    clock = VirtualClock()
    made = limit(clock)
    made.stop("why")
    clock.advance(minutes=60)
    assert not made.allows(1, 1)
    made.go_on()
    assert (made.stopped, made.allows(1, 1)) == ("", True)


async def test_a_bug_that_fails_on_everything_stops_the_consumer_and_loses_nothing(
    database_url: str, pauses: None
) -> None:
    hearer, messages = Hearer(broken=True), [command() for _ in range(6)]
    async with consuming_toy(database_url, hearer) as (database, consumer):
        task = asyncio.create_task(consumer.consume([encode(m) for m in messages]))
        await until_stopped(consumer)
        assert not task.done()
        assert "a bug" in consumer.stopped
        assert len(await letters(database)) == 3
        hearer.broken = False
        async with asyncio.timeout(30):
            await task
        assert hearer.heard == messages[3:]
        assert (consumer.stopped, await letters(database)) == ("", [])


async def test_a_flood_of_poison_in_one_batch_stops_the_consumer_and_what_is_good_is_handled(
    database_url: str, pauses: None
) -> None:
    hearer, good = Hearer(), command()
    async with consuming_toy(database_url, hearer) as (database, consumer):
        records = [encode(good), *map(poison, range(10))]
        task = asyncio.create_task(consumer.consume(records))
        await until_stopped(consumer)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert hearer.heard == [good]
        assert [letter.offset for letter in await letters(database)] == [0, 1, 2]


async def test_some_poison_among_many_good_records_passes_as_dead_letters(
    database_url: str,
) -> None:
    hearer, good = Hearer(), [command() for _ in range(20)]
    async with consuming_toy(database_url, hearer) as (database, consumer):
        await consumer.consume([*map(encode, good), *map(poison, range(8))])
        assert hearer.heard == good
        assert len(await letters(database)) == 8


async def test_a_record_that_is_delivered_again_after_its_burial_is_the_same_letter(
    database_url: str,
) -> None:
    followed: list[int] = []

    async def follow(_: AsyncSession, record: Record) -> None:
        followed.append(record.offset)

    async with consuming_toy(database_url, Hearer()) as (database, _):
        before = Consumer("toy", VM_COMMANDS, Hearer(), database, VirtualClock(), on_bury=follow)
        await before.consume([poison(1)])
        again = Consumer("toy", VM_COMMANDS, Hearer(), database, VirtualClock(), on_bury=follow)
        await again.consume([poison(1), poison(2)])
        await again.consume([poison(1), poison(2)])
        assert [letter.offset for letter in await letters(database)] == [1, 2]
        assert followed == [1, 2]


def test_a_letter_is_another_one_by_its_place_its_consumer_its_content_or_its_replay() -> None:
    record = poison(1)
    others = [
        burial_id(record, "hostler.audit"),
        burial_id(record, "hostler.toy", new_id()),
        burial_id(poison(2), "hostler.toy"),
        burial_id(replace(record, partition=1), "hostler.toy"),
        burial_id(replace(record, topic="vm.events"), "hostler.toy"),
        burial_id(replace(record, value=b"[]"), "hostler.toy"),
        burial_id(replace(record, headers={"ce_id": "another"}), "hostler.toy"),
    ]
    mine = burial_id(record, "hostler.toy")
    assert burial_id(poison(1), "hostler.toy") == mine
    assert len({mine, *others}) == len(others) + 1


async def test_a_dead_letter_that_cannot_be_taken_down_is_no_new_one(
    database_url: str, pauses: None
) -> None:
    hearer = Hearer(broken=True)
    letter = command(None, dead_letter(poison(1), "hostler.other", "why"))
    async with opened(database_url) as database:
        consumer = Consumer(
            "toy", DEAD_LETTERS, hearer, database, VirtualClock(), limit=limit(VirtualClock())
        )
        task = asyncio.create_task(consumer.consume([encode(letter)]))
        await until_stopped(consumer)
        assert await letters(database) == []
        hearer.broken = False
        async with asyncio.timeout(30):
            await task
        assert hearer.heard == [letter]


async def test_a_replayed_letter_is_handled_once_by_the_consumer_that_gave_up_on_it(
    database_url: str,
) -> None:
    hearer, message = Hearer(), command()
    async with consuming_toy(database_url, hearer) as (database, consumer):
        again = Replayer("toy", [consumer], database, VirtualClock())
        record = encode(message)
        mine, others = (dead_letter(record, f"hostler.{name}", "") for name in ("toy", "audit"))
        await again.consume([encode(replay(others))])
        assert hearer.heard == []
        await again.consume([encode(replay(mine)), encode(replay(mine))])
        assert hearer.heard == [message]
        assert await letters(database) == []


async def test_a_replay_that_fails_is_one_new_letter_however_often_it_is_delivered(
    database_url: str,
) -> None:
    hearer = Hearer(broken=True)
    async with consuming_toy(database_url, hearer, count=1) as (database, consumer):
        again = Replayer("toy", [consumer], database, VirtualClock())
        old = dead_letter(encode(command()), "hostler.toy", "an old reason")
        for told in (replay(old), replay(old), replay(old)):
            await again.consume([encode(told)])
            await again.consume([encode(told)])
        new = await letters(database)
        assert [letter.reason for letter in new] == ["RuntimeError: a bug"] * 3
        assert {buried(letter).value for letter in new} == {buried(old).value}
        assert consumer.stopped == ""


async def test_a_replay_goes_to_a_batch_handler_with_the_place_it_had(database_url: str) -> None:
    places: list[tuple[str, int, int]] = []

    async def keep(session: AsyncSession, batch: Batch) -> None:
        places.extend((r.topic, r.partition, r.offset) for _, r in batch)

    record = encode(command())
    record = Record(record.topic, record.key, record.headers, record.value, 3, 7)
    async with opened(database_url) as database:
        clock = VirtualClock()
        consumer = Consumer("toy", VM_COMMANDS, None, database, clock, handle_many=keep)
        again = Replayer("toy", [consumer], database, clock)
        await again.consume([encode(replay(dead_letter(record, "hostler.toy", "")))])
    assert places == [("vm.commands", 3, 7)]


async def test_a_letter_of_a_topic_that_is_not_consumed_any_more_stays_a_letter(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        again = Replayer("toy", [], database, VirtualClock())
        await again.consume([encode(replay(dead_letter(poison(1), "hostler.toy", "old")))])
        (letter,) = await letters(database)
        assert letter.reason == "hostler.toy does not consume vm.commands"


async def test_a_replay_that_cannot_be_read_does_not_hold_up_the_others(database_url: str) -> None:
    hearer, message = Hearer(), command()
    async with consuming_toy(database_url, hearer) as (database, consumer):
        again = Replayer("toy", [consumer], database, VirtualClock())
        good = dead_letter(encode(message), "hostler.toy", "")
        bad = good.model_copy(update={"value_base64": "~"})
        await again.consume([encode(replay(bad)), encode(replay(good))])
        assert hearer.heard == [message]
        (letter,) = await letters(database)
        assert letter.topic == "dead.replays"


def test_a_value_too_long_for_a_letter_is_told_and_not_kept() -> None:
    letter = dead_letter(Record("t", "k", {}, b"x" * (KEPT_BYTES + 1)), "hostler.toy", "why")
    assert (letter.value_base64, letter.reason) == (
        "",
        f"why (not kept: the value of {KEPT_BYTES + 1} bytes is too long)",
    )


def test_a_reason_holds_no_value_that_a_model_refused() -> None:
    class Model(BaseModel):
        password: int

    with pytest.raises(ValidationError) as caught:
        Model.model_validate({"password": "s3cret"})
    assert "s3cret" not in reason_of(caught.value)
    assert "password" in reason_of(caught.value)
